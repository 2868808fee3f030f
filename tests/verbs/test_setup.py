"""What a run does before its work: where it keeps compiled programs."""

from etils import epath

from jaxreason.verbs.call import cache_folder


def test_hosts_without_a_common_disk_keep_their_programs_on_the_bucket_of_the_run(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/someone/cache")
    own = "/home/someone/cache/jaxreason/jax"
    bucket, disk = epath.Path("gs://bucket/runs/sft"), epath.Path("/runs/sft")
    assert cache_folder(bucket, 16) == "gs://bucket/runs/sft/programs"
    assert cache_folder(bucket, 1) == cache_folder(disk, 16) == cache_folder(None, 16) == own
