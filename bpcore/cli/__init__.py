"""What the commands of `bpcore` do; bpcore/cli.py says what they are called with."""
