"""The gateway's peers, behind core's ports."""
