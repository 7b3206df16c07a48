# The course with NVIDIA GPUs: CUDA 11.8, TensorFlow 2.14, and a Horovod that adds up with NCCL.
# Not run here, for want of a GPU: docs/gpu.md says what of it was checked, and how to use it.
#
# The image brings what compiling takes: nvcc 11.8, NCCL's headers, and a g++ (11) that this nvcc
# accepts. What runs comes from requirements/, the CUDA libraries too.
FROM nvidia/cuda:11.8.0-devel-ubuntu22.04

# An ssh server and client, because Horovod starts its processes on other hosts through ssh. Host
# keys belong to a container, not to an image: `ssh-keygen -A` makes them before sshd starts.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        ca-certificates g++ make openssh-client openssh-server python3-pip \
    && rm -rf /var/lib/apt/lists/* /etc/ssh/ssh_host_* \
    && mkdir -p /run/sshd \
    && echo 'StrictModes no' > /etc/ssh/sshd_config.d/keys-in-a-mounted-folder.conf

WORKDIR /opt/nnunet-course

# Ubuntu 22.04 has no final Python 3.11. uv, at its locked version, brings one.
COPY requirements requirements
ENV UV_PYTHON_INSTALL_DIR=/opt/python
RUN python3 -m pip install --no-cache-dir --require-hashes -r requirements/uv.txt \
    && uv python install 3.11.15

# The packages and Horovod, in a layer that a change of our own code leaves alone.
COPY Makefile ./
ENV GPU=yes HOROVOD_CUDA_HOME=/usr/local/cuda UV_NO_CACHE=1
RUN make .venv/.stamps/native-gpu PYTHON="$(uv python find 3.11.15)"

COPY . .
RUN make env

ENV PATH=/opt/nnunet-course/.venv/bin:$PATH
CMD ["python", "-m", "nnunet_lib", "--help"]
