"""The commands of `nap`: one frozen dataclass each; what is heavy is imported when the command runs."""
