# What this configuration is written for. One provider; the AWS plug-in's version is the one it is tested with.

terraform {
  required_version = ">= 1.7"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100.0"
    }
  }
}

locals {
  emulated = var.emulator_endpoint != ""
}

# With emulator_endpoint the S3 and SQS core can be applied to a stand-in such as moto's server: nothing is asked of AWS.
provider "aws" {
  region                      = var.region
  access_key                  = local.emulated ? "test" : null
  secret_key                  = local.emulated ? "test" : null
  s3_use_path_style           = local.emulated
  skip_credentials_validation = local.emulated
  skip_metadata_api_check     = local.emulated
  skip_requesting_account_id  = local.emulated

  dynamic "endpoints" {
    for_each = local.emulated ? [var.emulator_endpoint] : []
    content {
      iam = endpoints.value
      s3  = endpoints.value
      sns = endpoints.value
      sqs = endpoints.value
      sts = endpoints.value
    }
  }

  default_tags {
    tags = { application = var.name }
  }
}

data "aws_caller_identity" "here" {}
data "aws_partition" "here" {}
