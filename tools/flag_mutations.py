"""Does a test notice when a flag of `onnxfix repair` does nothing? `python tools/flag_mutations.py [FLAG ...]`.

For each flag a copy of the command is made that takes the flag and then forgets it, the test that asserts what the flag
changes is run on that copy, and has to fail. Ends with 0 when every test fails, 1 when one still passes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PRECISION, REPAIR, CHECKS = "tests/cli/test_precision.py", "tests/cli/test_repair.py", "tests/cli/test_verification.py"
INT8 = "tests/cli/test_quantization.py"
# Flag → what is done to the command's arguments before they are used, and the test that must notice.
# ruff: noqa: E501
FLAGS = {
    "--precision": ('given["precision"] = None', f"{REPAIR}::test_fp32_repair_is_bit_identical_and_keeps_what_is_not_its_business"),
    "--no-keep-rotary-fp32": ('given["keep_rotary_fp32"] = True', f"{PRECISION}::test_rotary_angles_are_fp32_unless_told_otherwise"),
    "--keep-rotary-fp32": ('given["keep_rotary_fp32"] = False', f"{PRECISION}::test_rotary_angles_are_fp32_unless_told_otherwise"),
    "--block-op": ('given["block_op"] = ()', f"{PRECISION}::test_block_lists[--block-op"),
    "--block-node": ('given["block_node"] = ()', f"{PRECISION}::test_block_lists[--block-node"),
    "--block-scope": ('given["block_scope"] = ()', f"{PRECISION}::test_block_lists[--block-scope"),
    "--keep-fp32-like": ('given["keep_fp32_like"] = ()', f"{PRECISION}::test_places_kept_by_kind"),
    "--io-types": ('given["io_types"] = "keep"', f"{PRECISION}::test_io_types_half_is_verified_and_declared"),
    "--converter": ('given["converter"] = "onnxfix"', f"{PRECISION}::test_other_converters_on_a_prepared_graph"),
    "--script": ('given["script"] = ()', f"{REPAIR}::test_scripts_run_before_and_after_the_passes"),
    "--script-last": ('given["script_last"] = ()', f"{REPAIR}::test_scripts_run_before_and_after_the_passes"),
    "--calibrate": ('given["calibrate"] = None', f"{PRECISION}::test_calibration_keeps_what_overflows_on_real_inputs_and_nothing_else"),
    "--text": ('given["text"] = "text"', f"{PRECISION}::test_texts_of_a_table_are_tokenised_by_the_checkpoint"),
    "--checkpoint": ('given["checkpoint"] = None', f"{PRECISION}::test_a_checkpoint_names_the_theta"),
    "--search": ('given["search"] = False', f"{PRECISION}::test_search_finds_the_layer_that_overflows_and_nothing_else"),
    "--metric": ('given["metric"] = "rel-l2"', f"{PRECISION}::test_the_log_of_another_search_is_refused"),
    "--label": ('given["label"] = ()', "tests/flows/test_metric_limits.py::test_labels_of_a_file"),
    "--search-log": ('given["search_log"] = None', f"{PRECISION}::test_search_resumes_where_it_was_cut_off"),
    "--max-error": ('given["max_error"] = None', f"{PRECISION}::test_what_cannot_be_helped_names_the_worst_node_and_writes_nothing"),
    "--feeds": ('given["feeds"] = None', f"{REPAIR}::test_given_feeds_are_used_and_checked"),
    "--no-verify": ('given["verify"] = True', f"{REPAIR}::test_no_verify_says_unverified_everywhere"),
    "--int8": ('given["int8"] = None', f"{REPAIR}::test_int8_implies_fp32_and_cpu"),
    "--bits": ('given["bits"] = 8', f"{REPAIR}::test_weight_only_takes_bits_and_blocks"),
    "--block-size": ('given["block_size"] = None', f"{REPAIR}::test_weight_only_takes_bits_and_blocks"),
    "--calibration": ('given["calibration"] = "minmax"', f"{REPAIR}::test_static_int8_measures_ranges_by_the_method_asked_for"),
    "--no-migrate-outliers": ('given["migrate_outliers"] = True', f"{INT8}::test_outliers_are_migrated_where_inputs_show_them"),
    "--fuse-attention": ('given["fuse_attention"] = False', "tests/e2e/test_fused_attention.py::test_attention_and_rotary_products_become_one_operator_each"),
    "--reduce-range": ('given["reduce_range"] = False', f"{INT8}::test_a_reduced_range_holds_seven_bits"),
    "--quantize-heads": ('given["quantize_heads"] = False', f"{INT8}::test_heads_stay_in_float_unless_asked_for"),
    "--no-prepare": ('given["prepare"] = True', f"{REPAIR}::test_no_prepare_is_the_quantizer_alone"),
    "--report": ('report_file = None', f"{REPAIR}::test_no_verify_says_unverified_everywhere"),
    "--dry-run": ('given["dry_run"] = False', f"{REPAIR}::test_dry_run_and_diff_write_nothing"),
    "--diff": ('show_diff = False', f"{REPAIR}::test_dry_run_and_diff_write_nothing"),
    "--force": ('given["force"] = False', f"{CHECKS}::test_an_earlier_result_is_replaced_and_a_foreign_file_is_not"),
    "--output": ('given["output"] = None', f"{PRECISION}::test_other_converters_on_a_prepared_graph"),
}  # fmt: skip
MARK = "    if report_file:\n"


def package(folder: Path) -> Path:
    """The package as links, its commands as copies that can be changed; the path to import it from."""
    inner = folder / "onnxfix"
    inner.mkdir()
    for entry in (ROOT / "onnxfix").iterdir():
        if entry.name != "cli":
            (inner / entry.name).symlink_to(entry)
    for name in ("surgery", "diagnose", "export", "eval"):
        (inner / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "onnxfix" / "cli", inner / "cli", ignore=shutil.ignore_patterns("__pycache__"))
    return inner / "cli" / "commands" / "repair.py"


def notices(folder: Path, test: str) -> bool:
    """Whether the tests of that name fail on the package in `folder`."""
    file, _, name = test.partition("::")
    base, _, parameter = name.partition("[")
    # a safe path, as the working folder would come first and holds the package as it is
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    words = f"{base} and {parameter.removeprefix('--')}" if parameter else base
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", file, "-k", words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{test}: pytest ended with {done.returncode}: {done.stdout[-300:]}")
    return done.returncode == 1


def main() -> int:
    missed = 0
    for flag in sys.argv[1:] or FLAGS:
        change, test = FLAGS[flag]
        with tempfile.TemporaryDirectory(prefix="flag-mutations-") as name:
            command = package(Path(name))
            text = command.read_text(encoding="utf-8")
            if MARK not in text:
                raise SystemExit(f"{command.name} has no line to change a flag behind")
            whole = notices(Path(name), test)
            command.write_text(text.replace(MARK, f"    {change}\n{MARK}", 1), encoding="utf-8")
            found = notices(Path(name), test)
        missed += whole or not found
        verdict = "fails without the change" if whole else "noticed" if found else "NOT NOTICED"
        sys.stdout.write(f"{flag:24}{verdict:14}{test.partition('::')[2]}\n")
        sys.stdout.flush()
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
