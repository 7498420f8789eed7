"""`datagen train --print-launch`: the script that starts the same call in several processes. Nothing is started here.

    accelerate    one machine; with --sharding the configuration that accelerate reads stands in the script
    torchrun      one machine, nothing sharded
    slurm         as many machines as are asked for, one task each, of which accelerate starts a process a GPU

The scripts are checked by bash and by accelerate's own reader; they ran on no GPU here.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from datagen.errors import UsageError

__all__ = ["CONFIGURATIONS", "LAUNCHERS", "script"]

PER_NODE = 8
"""GPUs of one machine, where there are several machines."""
FSDP2 = """\
compute_environment: LOCAL_MACHINE
distributed_type: FSDP
mixed_precision: bf16
fsdp_config:
  fsdp_version: 2
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_reshard_after_forward: true
  fsdp_state_dict_type: FULL_STATE_DICT
  fsdp_cpu_ram_efficient_loading: false
  fsdp_offload_params: false
"""
ZERO3 = """\
compute_environment: LOCAL_MACHINE
distributed_type: DEEPSPEED
mixed_precision: bf16
deepspeed_config:
  zero_stage: 3
  zero3_init_flag: false
  zero3_save_16bit_model: true
  offload_optimizer_device: none
  offload_param_device: none
"""
CONFIGURATIONS = {"fsdp2": FSDP2, "zero3": ZERO3}
"""--sharding → accelerate's configuration."""
TOP = "#!/usr/bin/env bash\n"
BODY = """\
set -euo pipefail
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=600  # seconds for the step and the checkpoint after a signal
"""
LAUNCHERS = ("accelerate", "torchrun", "slurm")


def script(launcher: str, words: Sequence[str], processes: int, sharding: str) -> str:
    """A bash script that runs `datagen` with `words`. Raises UsageError for what the launcher cannot do."""
    if launcher not in LAUNCHERS:
        raise UsageError(f"--print-launch {launcher!r}: use {', '.join(LAUNCHERS)}")
    if launcher == "torchrun" and sharding != "none":
        raise UsageError(f"--print-launch torchrun: shards nothing (--sharding {sharding}): use accelerate or slurm")
    if processes > PER_NODE and (launcher != "slurm" or processes % PER_NODE):
        raise UsageError(
            f"--processes {processes}: {launcher} is given up to {PER_NODE}, slurm also their multiples: give these"
        )
    call = f"datagen {shlex.join(_without_flag(words))}"
    if launcher == "slurm":
        return _slurm(call, processes, sharding)
    if launcher == "torchrun":
        return f"{TOP}{BODY}exec torchrun --nproc-per-node {processes} --no-python {call}\n"
    launch = f"accelerate launch {_flags(sharding)} --num_machines 1 --num_processes {processes} --no_python"
    return f"{TOP}{BODY}{_configuration(sharding)}exec {launch} {call}\n"


def _without_flag(words: Sequence[str]) -> list[str]:
    """The call without --print-launch, which would print again."""
    kept, rest = [], iter(words)
    for word in rest:
        if word == "--print-launch":
            next(rest, None)
        elif not word.startswith("--print-launch="):
            kept.append(word)
    return kept


def _slurm(call: str, processes: int, sharding: str) -> str:
    """SIGTERM comes ten minutes before the end of the time, so that a checkpoint is written; then --resume goes on."""
    nodes = -(-processes // PER_NODE)
    launch = (
        f"accelerate launch {_flags(sharding)} --num_machines {nodes} --num_processes {processes} "
        '--machine_rank "$SLURM_PROCID" --main_process_ip "$MASTER" --main_process_port 29500 --rdzv_backend static '
        f"--no_python {call}"
    )
    return f"""{TOP}#SBATCH --job-name=datagen-train
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node={processes // nodes}
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@600
{BODY}{_configuration(sharding)}MASTER=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
export MASTER
exec srun --kill-on-bad-exit=1 bash -c {shlex.quote("exec " + launch)}
"""


def _configuration(sharding: str) -> str:
    if sharding == "none":
        return ""
    return f"cat > accelerate-{sharding}.yaml << 'END'\n{CONFIGURATIONS[sharding]}END\n"


def _flags(sharding: str) -> str:
    """Of accelerate; without a file of ours the user's own defaults are not to count."""
    if sharding == "none":
        return "--multi_gpu --mixed_precision bf16 --dynamo_backend no"
    return f"--config_file accelerate-{sharding}.yaml"
