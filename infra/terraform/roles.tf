# Who may do what with the bucket and the queue: the tables of docs/operations.md, and no more. A test compares the two.

locals {
  objects = "${aws_s3_bucket.recordings.arn}/${local.root}"
  written = concat(local.outputs, [".dropscribe/"])
  deleted = concat(["errors/", ".dropscribe/"], var.delete_outputs ? ["results/", "progress/"] : [])

  # s3://BUCKET/PREFIX of models: ["BUCKET", "PREFIX/"]
  models_place  = startswith(var.models, "s3://") ? regex("^s3://([^/]+)/?(.*?)/?$", var.models) : []
  models_bucket = length(local.models_place) == 0 ? "" : local.models_place[0]
  models_prefix = length(local.models_place) == 0 ? "" : local.models_place[1] == "" ? "" : "${local.models_place[1]}/"
}

data "aws_iam_policy_document" "worker" {
  statement {
    sid       = "List"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.recordings.arn]
  }
  statement {
    sid       = "Read"
    actions   = ["s3:GetObject"]
    resources = ["${local.objects}*"]
  }
  statement {
    sid       = "Write"
    actions   = ["s3:PutObject", "s3:AbortMultipartUpload"]
    resources = [for prefix in local.written : "${local.objects}${prefix}*"]
  }
  statement {
    sid       = "Delete"
    actions   = ["s3:DeleteObject"]
    resources = [for prefix in local.deleted : "${local.objects}${prefix}*"]
  }
  statement {
    sid = "Queue"
    actions = [
      "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes", "sqs:GetQueueUrl",
    ]
    resources = [aws_sqs_queue.recordings.arn]
  }
  statement {
    sid       = "DeadLetters"
    actions   = ["sqs:SendMessage", "sqs:GetQueueUrl"]
    resources = [aws_sqs_queue.dead.arn]
  }
  dynamic "statement" {
    for_each = local.models_bucket == "" ? [] : [1]
    content {
      sid       = "ListModels"
      actions   = ["s3:ListBucket"]
      resources = ["arn:${data.aws_partition.here.partition}:s3:::${local.models_bucket}"]
    }
  }
  dynamic "statement" {
    for_each = local.models_bucket == "" ? [] : [1]
    content {
      sid       = "ReadModels"
      actions   = ["s3:GetObject"]
      resources = ["arn:${data.aws_partition.here.partition}:s3:::${local.models_bucket}/${local.models_prefix}*"]
    }
  }
  dynamic "statement" {
    for_each = var.kms_key_arn == "" ? [] : [1]
    content {
      sid       = "Key"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [var.kms_key_arn]
    }
  }
}

# The sweep tells the queue of what it finds, and receives nothing from it. What it does in the bucket is what a worker does
# with callbacks: it reads, and writes its own records.
data "aws_iam_policy_document" "sweep" {
  statement {
    sid       = "List"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.recordings.arn]
  }
  statement {
    sid       = "Read"
    actions   = ["s3:GetObject"]
    resources = ["${local.objects}*"]
  }
  statement {
    sid       = "Records"
    actions   = ["s3:PutObject", "s3:DeleteObject"]
    resources = ["${local.objects}.dropscribe/*"]
  }
  statement {
    sid       = "Queue"
    actions   = ["sqs:SendMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl"]
    resources = [aws_sqs_queue.recordings.arn]
  }
  dynamic "statement" {
    for_each = var.kms_key_arn == "" ? [] : [1]
    content {
      sid       = "Key"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [var.kms_key_arn]
    }
  }
}

# Drops recordings, and cannot read them back, nor anybody's transcripts.
data "aws_iam_policy_document" "uploader" {
  statement {
    sid       = "Drop"
    actions   = ["s3:PutObject", "s3:AbortMultipartUpload"]
    resources = ["${local.objects}input/*"]
  }
  dynamic "statement" {
    for_each = var.kms_key_arn == "" ? [] : [1]
    content {
      sid       = "Key"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"] # an upload in parts reads its parts' keys
      resources = [var.kms_key_arn]
    }
  }
}

# Reads what was made, neither the recordings nor the worker's own records.
data "aws_iam_policy_document" "reader" {
  statement {
    sid       = "List"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.recordings.arn]
    condition {
      test     = "StringLike"
      variable = "s3:prefix"
      values   = [for prefix in local.outputs : "${local.root}${prefix}*"]
    }
  }
  statement {
    sid       = "Read"
    actions   = ["s3:GetObject"]
    resources = [for prefix in local.outputs : "${local.objects}${prefix}*"]
  }
  dynamic "statement" {
    for_each = var.kms_key_arn == "" ? [] : [1]
    content {
      sid       = "Key"
      actions   = ["kms:Decrypt"]
      resources = [var.kms_key_arn]
    }
  }
}

locals {
  account_root = "arn:${data.aws_partition.here.partition}:iam::${data.aws_caller_identity.here.account_id}:root"
  people = {
    uploader = {
      policy     = data.aws_iam_policy_document.uploader.json
      principals = length(var.uploader_principals) > 0 ? var.uploader_principals : [local.account_root]
    }
    reader = {
      policy     = data.aws_iam_policy_document.reader.json
      principals = length(var.reader_principals) > 0 ? var.reader_principals : [local.account_root]
    }
  }
  tasks = {
    worker = data.aws_iam_policy_document.worker.json
    sweep  = data.aws_iam_policy_document.sweep.json
  }
}

resource "aws_iam_role" "person" {
  for_each = local.people
  name     = "${var.name}-${each.key}"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { AWS = each.value.principals } }]
  })
}

resource "aws_iam_role_policy" "person" {
  for_each = local.people
  name     = each.key
  role     = aws_iam_role.person[each.key].name
  policy   = each.value.policy
}

# What runs in a container, on AWS Batch of this account.
resource "aws_iam_role" "task" {
  for_each = local.tasks
  name     = "${var.name}-${each.key}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.here.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "task" {
  for_each = local.tasks
  name     = each.key
  role     = aws_iam_role.task[each.key].name
  policy   = each.value
}
