"""What is stored of a lab: written whole, read with suspicion."""

from __future__ import annotations

import errno
import json
import os
import shutil
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule import identity, syscalls
from bascule.errors import StateError
from bascule.kernel.op import Indexes
from bascule.state import folder, lock, store
from bascule.state.record import VERSION, Keeper, Record, Stored, damaged_topology, parse, text


def _record(name: str = "lab") -> Record:
    return Record(
        name,
        "private",
        3,
        {"name": name},
        keeper=Keeper(7, 8),
        namespaces={"a": 1},
        priors=[("a", "net.x", "0")],
    )


def test_what_is_saved_is_loaded() -> None:
    """A record, and a journal beside it, which counts first."""
    with lock.lab_lock("lab", "test"):
        store.save(_record())
        store.begin(Record("lab", "private", 3, None, namespaces={"b": 0}))
        stored = store.load("lab")
        assert stored.record == _record()
        assert stored.newest is stored.journal
        assert stored.namespaces == {"a": 1, "b": 0}
        store.save(_record())
        assert store.load("lab").journal is None
        store.forget("lab")
        assert store.load("lab").newest is None
    assert not os.path.exists(folder.root())


def test_a_record_from_before_the_last_boot_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it describes has gone with the boot."""
    with lock.lab_lock("lab", "test"):
        store.save(Record("lab", "host", 0, None, boot="another boot"))
        assert store.load("lab").newest is None
        store.forget("lab")


@given(
    data=st.binary(max_size=60)
    | st.just(b'{"version": 1, "name": "lab", "world": "moon", "slot": 0, "topology": {}}')
)
def test_anything_in_a_record_is_a_state_error(data: bytes) -> None:
    """Whatever stands there: no other exception, and the file is named."""
    os.makedirs(folder.lab("lab"), 0o700, exist_ok=True)
    path = Path(folder.lab("lab"), "lab.json")
    path.write_bytes(data)
    with pytest.raises(StateError, match=str(path)):
        store.load("lab")


def test_a_linked_record_is_not_followed(tmp_path: Path) -> None:
    """Somebody could have planted it."""
    os.makedirs(folder.lab("lab"), 0o700)
    (tmp_path / "elsewhere").write_text("{}")
    os.symlink(tmp_path / "elsewhere", os.path.join(folder.lab("lab"), "lab.json"))
    with pytest.raises(StateError, match="symbolic links"):
        store.load("lab")


KEPT = {
    "name": "lab", "world": "host", "slot": 0, "topology": None, "source": "", "command": "", "boot": "",  # noqa: E501
    "keeper": None, "namespaces": {}, "priors": [], "version": 1,
}  # fmt: skip


def _put(content: object, file: str = "lab.json") -> str:
    os.makedirs(folder.lab("lab"), 0o700, exist_ok=True)
    path = os.path.join(folder.lab("lab"), file)
    Path(path).write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_what_is_written_can_be_read_by_others() -> None:
    """Plain JSON, only for its owner: the names are an interface to later versions."""
    os.makedirs(folder.lab("lab"), 0o700)
    record = Record(
        "lab",
        "private",
        3,
        {"name": "lab"},
        "/x/lab.yaml",
        "up",
        "",
        Keeper(7, 8),
        {"a": 1},
        [("a", "net.x", "0")],
    )
    store.save(record)
    path = Path(folder.lab("lab"), "lab.json")
    assert json.loads(path.read_text()) == {
        "name": "lab", "world": "private", "slot": 3, "topology": {"name": "lab"}, "source": "/x/lab.yaml", "command": "up",  # noqa: E501
        "boot": "", "keeper": {"pid": 7, "start": 8, "first": [0, 0], "numbering": ""}, "namespaces": {"a": 1},  # noqa: E501
        "priors": [["a", "net.x", "0"]], "version": 1, "settings": [], "tables": {}, "placed": [], "forwarding": {},  # noqa: E501
        "killed": [],
    }  # fmt: skip
    assert path.stat().st_mode & 0o777 == 0o600
    assert store.load("lab").record == record
    assert os.listdir(folder.lab("lab")) == ["lab.json"]


def test_a_record_knows_its_host() -> None:
    """The network namespace: by device, inode and cookie."""
    os.makedirs(folder.lab("lab"), 0o700)
    record = Record("lab", "host", 0, None, host=identity.netns())
    store.save(record)
    loaded = store.load("lab").record
    assert loaded == record
    assert loaded is not None and loaded.host is not None
    assert loaded.host.is_same(identity.netns())
    assert not loaded.host._replace(inode=1).is_same(identity.netns())
    assert loaded.host._replace(cookie=0).is_same(identity.netns())


def test_a_kernel_that_does_not_tell_its_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then records do not say which, and count."""

    def missing(path: str) -> object:
        raise FileNotFoundError(path)

    monkeypatch.setattr("builtins.open", missing)
    assert store.boot_id() == ""


def test_a_minimal_record_is_enough() -> None:
    """What an older version did not write has its default; what a newer one of the same format
    writes besides is passed over."""
    _put({"name": "lab", "world": "host", "slot": 4, "topology": None, "version": 1, "later": "x"})
    assert store.load("lab").record == Record("lab", "host", 4, None)


def test_records_of_this_boot_count() -> None:
    """And those that do not say which; each file by itself."""
    boot = store.boot_id()
    assert len(boot) == 36
    _put(KEPT | {"boot": boot})
    _put(KEPT | {"boot": "another", "slot": 5}, "journal.json")
    stored = store.load("lab")
    assert (stored.record, stored.journal) == (Record("lab", "host", 0, None, boot=boot), None)
    _put(KEPT | {"boot": "another"})
    _put(KEPT | {"slot": 5}, "journal.json")
    assert store.load("lab").newest == Record("lab", "host", 5, None)


def test_nothing_is_stored_of_a_lab_that_is_not_there() -> None:
    """No folder, an empty one, or a file in its place."""
    assert store.load("lab").newest is None
    assert store.load("lab").namespaces == {}
    os.makedirs(folder.root(), 0o700)
    assert store.load("lab").newest is None
    Path(folder.lab("lab")).write_text("")
    assert store.load("lab").newest is None


MEMORY = {
    "before": {"all": {"forwarding": "0"}, "up0": {"accept_ra": "-1"}},
    "interfaces": {"up0": 2},
    "back": {},
}
RESCUE = "`bascule down --force lab` takes away what is to be seen of the lab"
REPAIR = f": it is damaged; {RESCUE}"


@pytest.mark.parametrize("file", ["lab.json", "journal.json"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", " is no JSON" + REPAIR),
        ('{"name": ', " is no JSON" + REPAIR),
        ([KEPT], " holds no object" + REPAIR),
        (KEPT | {"name": "other"}, " does not describe this lab" + REPAIR),
        (KEPT | {"world": "moon"}, " has wrong world" + REPAIR),
        (KEPT | {"slot": "0"}, " has wrong slot" + REPAIR),
        (KEPT | {"killed": {}}, " has wrong killed" + REPAIR),
        (KEPT | {"killed": [None]}, " has wrong killed" + REPAIR),
        (KEPT | {"slot": True}, " has wrong slot" + REPAIR),
        (KEPT | {"slot": -1}, " has wrong slot" + REPAIR),
        (KEPT | {"slot": Indexes.SLOTS, "boot": 5}, " has wrong slot and boot" + REPAIR),
        (KEPT | {"name": 5}, " has wrong name" + REPAIR),
        (KEPT | {"source": []}, " has wrong source" + REPAIR),
        (KEPT | {"command": None}, " has wrong command" + REPAIR),
        (KEPT | {"topology": []}, " has wrong topology" + REPAIR),
        (KEPT | {"topology": {"nodes": []}}, " has wrong topology" + REPAIR),
        (KEPT | {"topology": {"networks": {"lan": 5}}}, " has wrong topology" + REPAIR),
        (
            KEPT | {"topology": {"nodes": {"a": {"networks": ["lan"]}}}},
            " has wrong topology" + REPAIR,
        ),
        (KEPT | {"keeper": {"pid": 1}}, " has wrong keeper" + REPAIR),
        (KEPT | {"keeper": {"pid": 1 << 40, "start": 1}}, " has wrong keeper" + REPAIR),
        (KEPT | {"keeper": 5}, " has wrong keeper" + REPAIR),
        (KEPT | {"host": [4, 1]}, " has wrong host" + REPAIR),
        (KEPT | {"host": [4, 1, -1]}, " has wrong host" + REPAIR),
        (KEPT | {"host": {"inode": 1}}, " has wrong host" + REPAIR),
        (KEPT | {"keeper": {"pid": 1, "start": 1, "first": [1]}}, " has wrong keeper" + REPAIR),
        (KEPT | {"keeper": {"pid": 1, "start": 1, "first": [1, -1]}}, " has wrong keeper" + REPAIR),
        (
            KEPT | {"keeper": {"pid": 1, "start": 1, "first": {"0": 1, "1": 2}}},
            " has wrong keeper" + REPAIR,
        ),
        (KEPT | {"keeper": {"pid": 1, "start": 1, "numbering": 7}}, " has wrong keeper" + REPAIR),
        (KEPT | {"namespaces": []}, " has wrong namespaces" + REPAIR),
        (KEPT | {"namespaces": {"a": "x"}}, " has wrong namespaces" + REPAIR),
        (KEPT | {"namespaces": {"../../etc/x": 0}}, " has wrong namespaces" + REPAIR),
        (KEPT | {"priors": [["a", "b"]]}, " has wrong priors" + REPAIR),
        (KEPT | {"priors": [["a", "b", 1]]}, " has wrong priors" + REPAIR),
        (KEPT | {"priors": {}}, " has wrong priors" + REPAIR),
        (KEPT | {"forwarding": []}, " has wrong forwarding" + REPAIR),
        (KEPT | {"forwarding": {"": []}}, " has wrong forwarding" + REPAIR),
        (KEPT | {"forwarding": {"": {"5": MEMORY}}}, " has wrong forwarding" + REPAIR),
        (KEPT | {"forwarding": {"": {"4": None}}}, " has wrong forwarding" + REPAIR),
        (KEPT | {"forwarding": {"": {"4": {"before": {}}}}}, " has wrong forwarding" + REPAIR),
        (
            KEPT | {"forwarding": {"": {"4": MEMORY | {"more": {}}}}},
            " has wrong forwarding" + REPAIR,
        ),
        (
            KEPT | {"forwarding": {"": {"4": MEMORY | {"interfaces": []}}}},
            " has wrong forwarding" + REPAIR,
        ),
        (
            KEPT | {"forwarding": {"": {"4": MEMORY | {"interfaces": {"up0": "2"}}}}},
            " has wrong forwarding" + REPAIR,
        ),
        (
            KEPT | {"forwarding": {"": {"4": MEMORY | {"interfaces": {"up0": 1 << 31}}}}},
            " has wrong forwarding" + REPAIR,
        ),
        (
            KEPT | {"forwarding": {"": {"6": MEMORY | {"before": {"all": "0"}}}}},
            " has wrong forwarding" + REPAIR,
        ),
        (
            KEPT | {"forwarding": {"": {"6": MEMORY | {"before": []}}}},
            " has wrong forwarding" + REPAIR,
        ),
        (
            KEPT | {"forwarding": {"": {"6": MEMORY | {"back": {"all": {"forwarding": 0}}}}}},
            " has wrong forwarding" + REPAIR,
        ),
        (
            KEPT | {"forwarding": {"": {"6": MEMORY | {"back": {"all": {"forwarding": "off"}}}}}},
            " has wrong forwarding" + REPAIR,
        ),
        (
            KEPT
            | {
                "forwarding": {"": {"6": MEMORY | {"back": {"all": {"forwarding": "12345678901"}}}}}
            },
            " has wrong forwarding" + REPAIR,
        ),
        ("[" * 100_000, " is no JSON" + REPAIR),
        ('{"slot": ' + "9" * 5000, " is no JSON" + REPAIR),
        (
            KEPT | {"version": 2},
            (
                " has version 2 and this bascule knows version 1; use the bascule that wrote it "
                f"to take the lab down, or: {RESCUE}"
            ),
        ),
        (
            {},
            (
                " has version None and this bascule knows version 1; use the bascule that wrote "
                f"it to take the lab down, or: {RESCUE}"
            ),
        ),
    ],
)
def test_what_is_wrong_with_a_record_and_what_to_do(
    file: str, content: object, problem: str
) -> None:
    """The file by its path, the problem, the way on: a damaged record must not strand a lab."""
    path = _put(content, file)
    with pytest.raises(StateError) as caught:
        store.load("lab")
    assert str(caught.value) == path + problem


def test_what_a_lab_remembers_of_forwarding_is_believed() -> None:
    told = {"": {"4": MEMORY, "6": MEMORY}, "a": {"6": MEMORY}, "b": {}}
    _put(KEPT | {"forwarding": told})
    record = store.load("lab").record
    assert record is not None
    assert record.forwarding == told


def test_a_record_in_whose_place_stands_something_else() -> None:
    """A FIFO is not waited for, a flood is not read."""
    path = Path(_put(KEPT))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(StateError, match="is no plain file"):
        store.load("lab")
    path.unlink()
    path.mkdir()
    with pytest.raises(StateError, match="directory"):
        store.load("lab")
    path.rmdir()
    with path.open("wb") as file:
        file.truncate((1 << 28) + 1)
    with pytest.raises(StateError, match="is larger than 256 MiB"):
        store.load("lab")


def test_a_record_without_a_slot_or_a_name_lacks_something() -> None:
    """Fields without a default are needed."""
    for name in ("name", "slot", "topology", "world"):
        _put({key: value for key, value in KEPT.items() if key != name})
        with pytest.raises(StateError, match=f"lacks {name}:"):
            store.load("lab")


def test_a_record_that_is_a_folder_is_an_error() -> None:
    """What cannot be read is said with the system's words."""
    os.makedirs(os.path.join(folder.lab("lab"), "lab.json"), 0o700)
    with pytest.raises(StateError, match=r"/state/lab/lab\.json: Is a directory"):
        store.load("lab")


def test_ends_of_a_run() -> None:
    """Undone: the journal goes. Forgotten: all goes but the lock, also what a killed run had begun
    to write."""
    os.makedirs(folder.lab("lab"), 0o700)
    store.save(_record())
    store.begin(_record())
    store.rollback("lab")
    assert (store.load("lab").record, store.load("lab").journal) == (_record(), None)
    store.rollback("lab")
    store.begin(_record())
    for name in ("lock", "lab.json.new", "journal.json.new"):
        Path(folder.lab("lab"), name).touch()
    store.forget("lab")
    assert os.listdir(folder.lab("lab")) == ["lock"]
    store.forget("lab")


def test_the_journal_counts_before_the_record() -> None:
    """Its namespaces may stand in the place of others of the same name."""
    os.makedirs(folder.lab("lab"), 0o700)
    store.save(Record("lab", "host", 0, None, namespaces={"a": 1, "b": 2}))
    assert store.load("lab").namespaces == {"a": 1, "b": 2}
    store.begin(Record("lab", "host", 0, None, namespaces={"b": 0, "c": 3}))
    assert store.load("lab").namespaces == {"a": 1, "b": 0, "c": 3}


def test_a_record_is_on_the_disk_before_it_bears_its_name() -> None:
    """Written and synced beside the old one, renamed, then the folder: whoever reads finds the old
    one or the new one."""
    os.makedirs(folder.lab("lab"), 0o700)
    store.begin(_record())
    calls: list[str] = []
    with syscalls.gated(lambda call, subject: calls.append(call)):
        store.save(_record())
    assert calls == ["open", "write", "fsync", "rename", "fsync", "unlink"]


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename"])
def test_a_record_that_cannot_be_written_leaves_the_old_one(call: str) -> None:
    """A full disk, for instance: said before the kernel is touched, and nothing half-written
    stays."""
    os.makedirs(folder.lab("lab"), 0o700)
    store.save(_record())

    def gate(name: str, subject: object) -> None:
        if name == call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    untouched = "No space left on device; nothing was changed in the kernel"
    begun = (
        "No space left on device; the kernel was changed already; mend this and run the "
        "command again"
    )
    done = "No space left on device; all else is done; mend this and run the command again"
    for write, file, said in (
        (store.save, "lab.json", done),
        (store.begin, "journal.json", untouched),
        (partial(store.begin, begun=True), "journal.json", begun),
    ):
        with syscalls.gated(gate), pytest.raises(StateError) as caught:
            write(Record("lab", "private", 9, None))
        assert str(caught.value) == f"{os.path.join(folder.lab('lab'), file)}: {said}"
    assert store.load("lab").record == _record()
    assert os.listdir(folder.lab("lab")) == ["lab.json"]


def test_what_a_killed_run_left_half_written_is_written_over() -> None:
    """Longer than what comes now, for instance; a link planted there is not followed."""
    os.makedirs(folder.lab("lab"), 0o700)
    begun = Path(folder.lab("lab"), "lab.json.new")
    begun.write_text("x" * 10_000)
    store.save(_record())
    assert store.load("lab").record == _record()
    begun.symlink_to("/etc/elsewhere")
    with pytest.raises(StateError, match="symbolic links; all else is done"):
        store.save(_record())
    assert not os.path.exists("/etc/elsewhere")


def test_a_topology_that_is_none_is_told_of_the_file_that_counts() -> None:
    """The journal, where there is one."""
    with lock.lab_lock("lab", "test"):
        store.save(_record())
        assert (
            str(damaged_topology("lab", "why"))
            == f"{folder.lab('lab')}/lab.json holds no topology (why){REPAIR}"
        )
        store.begin(_record())
        assert (
            str(damaged_topology("lab", "x"))
            == f"{folder.lab('lab')}/journal.json holds no topology (x){REPAIR}"
        )
        store.forget("lab")


def test_a_file_that_is_no_record_is_named() -> None:
    os.makedirs(folder.lab("lab"), 0o700)
    path = Path(folder.lab("lab"), "lab.json")
    path.write_text(json.dumps({"version": VERSION, "x": "y"}))
    with pytest.raises(
        StateError, match=f"^{path} lacks name and world and slot and topology: it is damaged"
    ):
        store.load("lab")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(StateError, match=f"^{path} is no plain file: it is damaged"):
        store.load("lab")
    path.unlink()
    with open(path, "wb") as opened:
        opened.truncate((256 << 20) + 1)
    with pytest.raises(StateError, match=f"^{path} is larger than 256 MiB: it is damaged"):
        store.load("lab")


def test_a_record_whose_folder_goes_while_it_is_read_is_none(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process takes the lab down in that moment."""
    with lock.lab_lock("lab", "test"):
        store.save(_record())
    real = folder.check

    def vanishing(path: str) -> None:
        shutil.rmtree(state, ignore_errors=True)
        real(path)

    monkeypatch.setattr(folder, "check", vanishing)
    assert store.load("lab") == Stored(None, None)


def test_a_keeper_comes_back_as_it_was_written() -> None:
    """With what it is in which PID namespace; one of the first version tells less."""
    os.makedirs(folder.lab("lab"), 0o700)
    record = Record("lab", "private", 0, None, keeper=Keeper(7, 8, (9, 10), "pid:[1]"))
    store.save(record)
    assert store.load("lab").record == record
    assert parse(text(record).encode(), "x", "lab") == record
    _put(KEPT | {"keeper": {"pid": 7, "start": 8}})
    assert store.load("lab").newest == Record(
        "lab", "host", 0, None, keeper=Keeper(7, 8, (0, 0), "")
    )
