"""What a site believes of a coordinator: its greetings, its key, and how far its invitations may go."""
