"""What maintains the project and is never imported by the rest: locked versions, licences, releases, documentation."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
