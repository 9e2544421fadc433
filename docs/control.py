"""Draw dephase-late.png, the picture of its page: python docs/control.py, with qbjax installed."""

from pathlib import Path

from qbjax.paper import late

if __name__ == "__main__":
    drawn = late.plot(late.data(quick=False))
    drawn.savefig(Path(__file__).with_name("dephase-late.png"), dpi=150)
