from mambaad.data.synthetic.catalogue import PRODUCTS
from mambaad.data.synthetic.settings import PRODUCT_NAMES


def test_every_product_is_named():
    assert tuple(PRODUCTS) == PRODUCT_NAMES
