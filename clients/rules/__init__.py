"""What a site file may say, table by table."""
