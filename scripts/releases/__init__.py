"""What a release is made of, and what has to agree before there is one."""
