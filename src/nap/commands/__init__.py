"""The commands of `nap`: one frozen dataclass each. Heavy imports happen when a command runs."""
