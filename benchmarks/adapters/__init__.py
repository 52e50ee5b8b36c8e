"""LoRA of a small pretrained transformer: what a private step takes, and how well it learns beside cheaper ways."""
