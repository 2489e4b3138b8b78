"""The commands of `reeltag`, a file each; every command calls one function of a room, imported when it runs."""
