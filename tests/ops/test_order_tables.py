import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from mambaad.ops.order_tables import _order_table, order_table
from mambaad.ops.orders import SCAN_METHODS, directional_orders

CPU = torch.device("cpu")


@pytest.mark.parametrize("method", SCAN_METHODS)
def test_it_is_the_orders(method):
    expected = directional_orders(method, 4, 3, 5)
    np.testing.assert_array_equal(order_table(method, 4, 3, 5, CPU), expected)
    compiled = _order_table(method, 4, 3, 5, CPU)
    assert compiled.dtype == torch.int32
    np.testing.assert_array_equal(compiled, expected)


def test_what_compiled_code_writes_over_is_not_what_is_kept():
    _order_table("hilbert", 8, 4, 4, CPU).zero_()
    expected = directional_orders("hilbert", 8, 4, 4)
    np.testing.assert_array_equal(_order_table("hilbert", 8, 4, 4, CPU), expected)


def test_first_seen_in_inference_it_serves_training_too():
    with torch.inference_mode():
        order_table("zigzag", 2, 6, 7, CPU)
    assert not order_table("zigzag", 2, 6, 7, CPU).is_inference()


def test_operator_obeys_the_rules_of_torch():
    torch.library.opcheck(torch.ops.mambaad.order_table, ("hilbert", 8, 4, 6, CPU))


def test_first_seen_while_exporting_it_serves_afterwards():
    with FakeTensorMode():
        order_table("sweep", 2, 9, 4, CPU)
    expected = directional_orders("sweep", 2, 9, 4)
    np.testing.assert_array_equal(order_table("sweep", 2, 9, 4, CPU), expected)


def test_a_table_is_made_once():
    assert order_table("sweep", 2, 9, 5, CPU) is order_table("sweep", 2, 9, 5, CPU)
