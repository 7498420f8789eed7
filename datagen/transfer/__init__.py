"""`datagen transfer`: how far training on text reaches hearing, as one study."""

from datagen.transfer.run import transfer

__all__ = ["transfer"]
