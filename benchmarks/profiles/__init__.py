"""Where the time goes: the stacks of our programs under load, and the system calls they make."""
