"""Why a checkpoint of the Hub cannot be had, each in a line that says what to do next."""

from __future__ import annotations

from pathlib import Path

from onnxfix.nouns.errors import OnnxfixError, arg, one_line

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5")
_LISTED = 4


def cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def no_network(error: BaseException) -> str:
    """What stood between a call and the Hub, in words."""
    cause = error.__cause__ or error.__context__
    return f"the Hub is not reached ({type(cause).__name__})" if cause is not None else "the Hub is not reached"


def not_cached(name: str, revision: str, why: str) -> OnnxfixError:
    """No folder of that name, no snapshot in the cache, and no way to get one."""
    from huggingface_hub.file_download import repo_folder_name

    there = cache() / repo_folder_name(repo_id=name, repo_type="model")
    known = _revisions(there)
    wanted = " ".join(["hf", "download", name, *(["--revision", revision] if revision != "main" else [])])
    way = f"where there is network: {wanted}; or name a folder, or the cache that has it with HF_HUB_CACHE"
    if known:
        return OnnxfixError(
            f"revision {revision} of {name} is not in the cache {cache()}, which has {', '.join(known)}; and {why}",
            f"name one of these, as in {name}@{known[0]}; or {way}",
        )
    return OnnxfixError(f"{name} is no folder here and not in the cache {cache()}, and {why}", way)


def _revisions(repository: Path) -> list[str]:
    """Branches and tags in the cache, then commits that none of them names."""
    refs = {
        file.relative_to(repository / "refs").as_posix(): file.read_text(encoding="utf-8").strip()
        for file in sorted((repository / "refs").rglob("*"))
        if file.is_file()
    }
    commits = sorted(entry.name for entry in (repository / "snapshots").glob("*") if (entry / "config.json").is_file())
    found = [ref for ref, commit in refs.items() if commit in commits]
    return [*found, *(commit for commit in commits if commit not in refs.values())][:_LISTED]


def no_config(name: str, revision: str) -> OnnxfixError:
    return OnnxfixError(
        f"{name} has no config.json at {revision}, so it is no checkpoint of transformers",
        f"name the repository of the model itself, or build it with {arg('factory', 'module:function')}",
    )


def no_weights(name: str, revision: str, folder: Path) -> OnnxfixError:
    """Pickles alone, or nothing: the cache may not know, so the Hub is asked where it can be."""
    names = {file.name for file in folder.iterdir()} | _on_the_hub(name, revision)
    pickles = sorted(each for each in names if each.endswith(_PICKLES))
    if pickles:
        return OnnxfixError(
            f"{name} has its weights only as {pickles[0]}, and not as safetensors: a pickle can run code when it is"
            " loaded",
            "name a revision that has safetensors, or load it where you trust it and save_pretrained() it to a folder",
        )
    way = f"hf download {name} where there is network"
    return OnnxfixError(f"{name} has no weights (model.safetensors) in {folder}", way)


def _on_the_hub(name: str, revision: str) -> set[str]:
    import huggingface_hub
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return set()
    try:
        files = huggingface_hub.HfApi().list_repo_files(name, revision=revision)
    except Exception:  # the question only makes an error clearer
        return set()
    return {each for each in files if "/" not in each}


def of_the_hub(error: Exception, name: str, revision: str) -> OnnxfixError:
    """What the Hub answered."""
    from huggingface_hub import errors

    log_in = "log in with 'hf auth login'"
    if isinstance(error, errors.GatedRepoError):
        return OnnxfixError(f"{name} is gated", f"accept its terms on its page at the Hub, and {log_in}")
    if isinstance(error, errors.RepositoryNotFoundError):
        return OnnxfixError(
            f"{name} is no folder here, and on the Hub it is not there or private",
            f"check the name; for a private one {log_in}",
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return OnnxfixError(f"{name} has no revision {revision}", "name a branch, a tag or a whole commit hash")
    return OnnxfixError(f"the Hub refuses {name}: {one_line(error)}", "check the name and try again")


def of_a_download(error: Exception, name: str) -> OnnxfixError:
    return OnnxfixError(
        f"{name} was not downloaded whole: {type(error).__name__}: {one_line(error)}",
        "run it again, which goes on where it ended",
    )
