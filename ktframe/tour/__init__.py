"""The demo: sample topics on a broker inside this process, and a Context connected to it."""
