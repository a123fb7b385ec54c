"""How many digits a number deserves in a table or a sentence."""

import math
from typing import Any

Value = str | int | float | bool | None


def formatted(value: Value, unit: str, places: int = 0) -> str:
    """A value in as many digits as its unit deserves, with the zeros at the end that its column's places ask for."""
    if value is None:
        return "–"
    if isinstance(value, str | bool):
        return {True: "✓", False: "✗"}[value] if isinstance(value, bool) else value
    if unit in ("%", "s"):
        return f"{value:,.1f}"
    if unit in ("ms", "µs"):
        return significant(float(value), 2, places)
    if unit == "nats":
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else significant(value, 3, places)


def significant(value: float, digits: int, places: int = 0) -> str:
    """1234.5 → 1,200 with 2 digits, 0.01234 → 0.012; 2.2 → 2.20 with 3 digits and 2 places."""
    rounded = float(f"{value:.{digits}g}")
    if abs(rounded) >= 10 ** (digits - 1):
        return f"{rounded:,.0f}"
    text = f"{rounded:.{digits}g}"
    return text if "e" in text or len(text.partition(".")[2]) >= places else f"{rounded:.{places}f}"


def places_of(content: dict[str, Any], key: str, value: Value) -> int:
    """Decimals that a column of a result gives to numbers of this size: 2.2 stands below 2.25 as 2.20."""
    size = magnitude(value)
    if size is None:
        return 0
    alike = [formatted(row[key], content["columns"][key]) for row in content["rows"] if magnitude(row.get(key)) == size]
    return max(len(number.partition(".")[2]) for number in alike)


def magnitude(value: Value) -> int | None:
    """The power of ten that a number is printed with; None of 0 and of anything else."""
    return math.floor(math.log10(abs(float(f"{value:.3g}")))) if isinstance(value, float) and value else None
