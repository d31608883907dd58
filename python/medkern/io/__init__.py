"""Files: weights, images and volumes. Nothing here unpickles."""

from medkern.io.files import DataError

__all__ = ["DataError"]
