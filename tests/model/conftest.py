"""Networks whose first weights do not depend on which tests ran before."""

import pytest
import tensorflow as tf


@pytest.fixture(autouse=True)
def _seeded() -> None:
    tf.keras.utils.set_random_seed(0)
