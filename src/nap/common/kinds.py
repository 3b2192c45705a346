"""What a file is, judged by its first bytes: text and its encoding, or another kind and what to do with it.

    kind_of(b"PK\\x03\\x04...")      # "a zip archive; unpack it and give the file inside"
    encoding_of(b"\\xff\\xfe{\\x00")  # "utf-16"

Does not open or parse anything.
"""

import json
import re

# Enough bytes for every mark below: a torch file names its pickle in the first entry of its zip.
HEAD = 512

PARQUET, GZIP, NUMPY = b"PAR1", b"\x1f\x8b", b"\x93NUMPY"

_UNPACK = "unpack it and give the file inside"
_CONVERT = "convert it to JSONL or Parquet"

# What files of a kind begin with, and what a person should know about them.
_MARKS: tuple[tuple[bytes, str], ...] = (
    (PARQUET, "a Parquet file; this command wants text"),
    (GZIP, "a gzip file; gunzip it"),
    (NUMPY, "a NumPy array (.npy); `nap trace import` reads it"),
    (b"PK\x05\x06", f"a zip archive; {_UNPACK}"),
    (b"\x89PNG\r\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF-", "a PDF document"),
    (b"BZh", f"a bzip2 file; {_UNPACK} (bunzip2)"),
    (b"\xfd7zXZ\x00", f"an xz file; {_UNPACK} (unxz)"),
    (b"\x28\xb5\x2f\xfd", f"a Zstandard file; {_UNPACK} (zstd -d)"),
    (b"\x04\x22\x4d\x18", f"an LZ4 file; {_UNPACK} (lz4 -d)"),
    (b"7z\xbc\xaf\x27\x1c", f"a 7z archive; {_UNPACK}"),
    (b"Rar!", f"a RAR archive; {_UNPACK}"),
    (b"ARROW1", f"an Arrow file; {_CONVERT}"),
    (b"\xff\xff\xff\xff", f"an Arrow stream, as `datasets` saves to disk; {_CONVERT}"),
    (b"ORC", f"an ORC file; {_CONVERT}"),
    (b"Obj\x01", f"an Avro file; {_CONVERT}"),
    (b"\x89HDF", f"an HDF5 file; {_CONVERT}"),
    (b"SQLite format 3", "an SQLite database, as a journal of `nap curate` is; give what was made of it"),
    (b"GGUF", "the weights of a model (GGUF), not data"),
    (b"\x7fELF", "a program (ELF)"),
    (b"version https://git-lfs.", "a Git LFS pointer: only a note where the file lies; fetch it with git lfs pull"),
)
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_TORCH = re.compile(rb"PK\x03\x04.{26}(?:[^/]{1,100}/)?(?:data\.pkl|\.format_version|\.data/)", re.DOTALL)
_NPZ = re.compile(rb"PK\x03\x04.{26}[^/]{1,100}\.npy", re.DOTALL)
_SAFETENSORS = re.compile(rb'.{5}\x00{3}\{"', re.DOTALL)
_HTML = re.compile(rb"\s*<(?:!doctype|html|\?xml|head|body)", re.IGNORECASE)
# Characters that no text file should hold; line ends and tabs are allowed.
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
# How JSON with two or four bytes a character begins; without a byte order mark nothing else tells.
_WIDE = re.compile(r'\s*[\[{"\d-]')


def kind_of(head: bytes) -> str | None:
    """What a file that begins with `head` is, and what to do with it; None where it may be text."""
    if _TORCH.match(head):
        return "a torch file (a zip that holds a pickle); of tensors of canvases `nap trace import` reads it"
    if _NPZ.match(head):
        return "NumPy arrays (.npz); `nap trace import` reads them"
    if head.startswith(b"PK\x03\x04"):
        return f"a zip archive; {_UNPACK}"
    if said := next((said for mark, said in _MARKS if head.startswith(mark)), None):
        return said
    if head[257:262] == b"ustar":
        return f"a tar archive; {_UNPACK}"
    if _PICKLE.match(head):
        return "a pickle, which can run code and is never read; save it as JSON"
    if _SAFETENSORS.match(head):
        return "the weights of a model (safetensors), not data"
    if _HTML.match(head):
        return "a web page (HTML); was the page of a file saved in place of the file?"
    if encoding_of(head).startswith("utf-8") and _CONTROL.search(head):
        return "a binary file of a kind that is not known here"
    return None


def encoding_of(head: bytes) -> str:
    """The encoding of a text that begins with `head`: by its byte order mark, else by where zero bytes stand."""
    found = json.detect_encoding(head[:4])
    marked = head.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff", b"\xef\xbb\xbf"))
    if marked or found == "utf-8":
        return found
    return found if _WIDE.match(head[: len(head) // 4 * 4].decode(found, "replace")) else "utf-8"
