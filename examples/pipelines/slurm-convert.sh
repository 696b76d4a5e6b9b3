#!/bin/bash
# Convert a workspace with a job array, then complete and check the result. On a login node, in the workspace:
#   SOURCE=iphone14 bash slurm-convert.sh 16                        16 parts
#   SOURCE=iphone14 bash slurm-convert.sh 4 --gpus-per-task=1       4 parts, a GPU each
# What follows the number is given to sbatch. After a part was killed, submit again: what is done is kept.
set -euo pipefail
n_parts=${1:?how many parts?}
shift
umc="umc -C $(printf %q "$PWD")"
# One precision for all machines: a part that computes otherwise than the others is refused. Said by a variable, which a
# converter without a network passes over.
convert="UMC_CONVERT_PRECISION=fp32 $umc convert --source ${SOURCE:?which device made the recordings?} --targets all --quiet"

submit() {
    sbatch --parsable --ntasks=1 --cpus-per-task=8 --time=4:00:00 "$@"
}
part="$convert --part \$SLURM_ARRAY_TASK_ID/$n_parts"
parts=$(submit --job-name=umc-parts --array="1-$n_parts" "$@" --wrap "$part")
submit --job-name=umc-check --dependency="afterany:$parts" "$@" --wrap "$convert; code=\$?; $umc shards verify converted && exit \$code"
