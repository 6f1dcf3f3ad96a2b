"""Terraform: what it makes is as it is written, a second plan changes nothing, and what it made goes.

Its AWS provider is not fetched: it is taken from a directory of plugins that
``TF_PLUGIN_MIRROR`` names, as Terraform's ``filesystem_mirror`` has it. Half a minute.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from awsllm.server.instance import environment
from tests.clients.conftest import Server

MIRROR = os.environ.get("TF_PLUGIN_MIRROR")
CONFIGURATION = """
terraform {
  required_providers {
    aws = {
      source = "hashicorp/aws"
    }
  }
}
provider "aws" {
  s3_use_path_style = true
}
resource "aws_s3_bucket" "output" {
  bucket = "tf-output"
}
resource "aws_iam_role" "sagemaker" {
  name = "tf-sagemaker"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = { Service = "sagemaker.amazonaws.com" }, Action = "sts:AssumeRole" }]
  })
}
resource "aws_sagemaker_model" "model" {
  name               = "tf-model"
  execution_role_arn = aws_iam_role.sagemaker.arn
  primary_container {
    image = "763104351884.dkr.ecr.us-east-1.amazonaws.com/djl-inference:0.34.0-lmi16.0.0-cu128"
  }
}
resource "aws_sagemaker_endpoint_configuration" "config" {
  name = "tf-config"
  production_variants {
    variant_name           = "AllTraffic"
    model_name             = aws_sagemaker_model.model.name
    initial_instance_count = 1
    instance_type          = "ml.g5.2xlarge"
  }
  tags = {
    team = "a"
  }
}
resource "aws_sagemaker_endpoint" "endpoint" {
  name                 = "tf-endpoint"
  endpoint_config_name = aws_sagemaker_endpoint_configuration.config.name
}
"""


@pytest.mark.slow
def test_what_terraform_makes_stays_and_goes(scripted: Server, tmp_path: Path) -> None:
    terraform = shutil.which("terraform")
    if terraform is None or MIRROR is None:
        pytest.skip("needs terraform, and TF_PLUGIN_MIRROR, a directory with its AWS provider")
    (tmp_path / "main.tf").write_text(CONFIGURATION, encoding="utf-8")
    (tmp_path / "rc").write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{MIRROR}"\n  }}\n}}\n')
    settings = {**os.environ, **environment(scripted.url), "TF_CLI_CONFIG_FILE": "rc", "CHECKPOINT_DISABLE": "1"}

    def run(*command: str) -> str:
        done = subprocess.run(
            [terraform, *command, "-no-color"], cwd=tmp_path, env=settings, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    run("init")
    assert "Apply complete! Resources: 5 added" in run("apply", "-auto-approve")
    assert "No changes." in run("plan", "-detailed-exitcode")
    assert "Destroy complete! Resources: 5 destroyed" in run("destroy", "-auto-approve")
