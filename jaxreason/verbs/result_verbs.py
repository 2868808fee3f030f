"""The verbs that make something of finished results: a report, the index, logs of Inspect. They import no model."""

import dataclasses

from etils import epath
from ml_collections import ConfigDict

from jaxreason.config import ConfigError
from jaxreason.errors import UserError
from jaxreason.evaluation import transfer
from jaxreason.report.report_config import ReportConfig
from jaxreason.results.atomic_files import read_object
from jaxreason.results.score_files import is_finished
from jaxreason.results.study_files import evaluation_folders, transfer_path
from jaxreason.studies.joined_studies import join_studies
from jaxreason.verbs.call import Call, existing_folder
from jaxreason.verbs.device_setup import without_devices
from jaxreason.verbs.extras import extra


def export_verb(call: Call) -> None:
    """Writes finished evaluations as logs of Inspect."""
    without_devices(call)
    with extra("inspect", "inspect_ai"):
        from jaxreason.evaluation.inspect_log import write_logs
    folders = evaluation_folders(call.workdir)
    if not any(map(is_finished, folders)):
        raise UserError(
            f"{call.workdir}: no evaluation has finished; `jaxreason eval` continues it."
        )
    for folder in folders:
        target = epath.Path(call.flags["target"]) / folder.parent.relative_to(call.workdir)
        if is_finished(folder):
            call.tell(f"{len(write_logs(folder, target))} logs: {target}")
        else:
            call.tell(f"{folder}: has not finished, so it is left out")


def transfer_verb(call: Call) -> None:
    """Computes the transferability index."""
    section = call.section("transfer", transfer.TransferConfig)
    without_devices(call)
    call.tell(transfer.format_table(transfer.run_transfer(section, call.workdir)))
    call.tell(f"wrote {transfer_path(call.workdir)}")


def report_verb(call: Call) -> None:
    """Writes the report of one study, or of several as one."""
    folders = [epath.Path(path) for path in call.paths]
    call = _with_recipe(call, folders[0] if folders else call.workdir)
    section = call.section("report", ReportConfig)
    without_devices(call)
    if folders:
        index = call.section("transfer", transfer.TransferConfig)
        join_studies(folders, call.workdir)
        transfer.run_study_transfer(index, call.workdir)
    from jaxreason.report import build  # `transfer` and `export` need no Matplotlib.

    build.run_report(call.workdir, section)
    call.tell(build.summary_text(call.workdir))
    call.tell(f"report: {call.workdir / 'report' / 'report.html'}")


def _with_recipe(call: Call, folder: epath.Path) -> Call:
    """Returns the call with the recipe of a study's folder, if it has no recipe of its own."""
    if call.config is not None:
        return call
    path = folder / "config.json"
    if not path.exists():
        existing_folder(folder)
        raise ConfigError(f"{path}: not found; give the recipe with --config.")
    return dataclasses.replace(call, config=ConfigDict(read_object(path, {})))
