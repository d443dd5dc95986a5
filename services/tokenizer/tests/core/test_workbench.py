"""Where work is done."""

import threading
from concurrent.futures import ThreadPoolExecutor

from weir_tokenizer.core.workbench import INLINE_US_MAX, Workbench


async def test_small_work_is_done_at_once_and_large_work_in_a_thread() -> None:
    with ThreadPoolExecutor(1) as executor:
        workbench = Workbench(executor)
        here = threading.get_ident()
        assert await workbench.run(INLINE_US_MAX, threading.get_ident) == here
        assert await workbench.run(INLINE_US_MAX + 1, threading.get_ident) != here
