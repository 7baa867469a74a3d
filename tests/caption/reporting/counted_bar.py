"""A progress bar that shows nothing and keeps what it is told."""


class CountedBar:
    """Appends (total, enabled) and then each number to `told`."""

    def __init__(self, told: list, total: int, name: str, enabled: bool = True) -> None:
        self.add = told.append
        self.add((total, enabled))

    def __enter__(self) -> "CountedBar":
        return self

    def __exit__(self, *exception: object) -> None:
        pass
