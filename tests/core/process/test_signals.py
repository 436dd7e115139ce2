import signal
import threading

from caelab.process.signals import handlers_kept
from caelab.study.clusters.extras import needed


def answer(number, frame):
    """A handler of a library."""


def test_handlers_are_those_from_before():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with handlers_kept():
        signal.signal(signal.SIGINT, answer)
        signal.signal(signal.SIGTERM, answer)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_another_thread_changes_nothing():
    before, raised, entered, left = signal.getsignal(signal.SIGTERM), [], threading.Event(), threading.Event()

    def within():
        try:
            with handlers_kept():
                entered.set()
                left.wait()
        except ValueError as error:  # as of signal.signal outside the main thread
            raised.append(error)

    thread = threading.Thread(target=within)
    thread.start()
    entered.wait()
    signal.signal(signal.SIGTERM, answer)
    left.set()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is answer
    signal.signal(signal.SIGTERM, before)
    assert raised == []


def test_a_library_that_handles_interrupts_when_it_is_imported_does_not(tmp_path, monkeypatch):
    (tmp_path / "greedy_library.py").write_text(
        "import signal, sys; signal.signal(signal.SIGINT, lambda *_: sys.exit())"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.getsignal(signal.SIGINT)
    needed("greedy_library", "greedy", "greedy")
    assert signal.getsignal(signal.SIGINT) is before
