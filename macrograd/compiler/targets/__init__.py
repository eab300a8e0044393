"""What a program is lowered to. A folder is a target; `scalar` is the emitter that targets with code share."""
