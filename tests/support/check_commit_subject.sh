#!/bin/sh
# Refuses a commit whose subject line is longer than 72 characters; the message's file is the argument.
subject=$(grep -v '^#' "$1" | head -n 1)
if [ "${#subject}" -gt 72 ]; then
    echo "The subject has ${#subject} characters, 72 are allowed: say what changed for whom, and why in the body."
    exit 1
fi
