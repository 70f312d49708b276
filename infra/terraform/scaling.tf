# From the queue's depth to workers: every minute a state machine looks how many messages there are and how many workers,
# and begins those that are missing. It needs no code of ours, and while nothing is to be done it costs cents a month.
#
# Not an alarm on the depth: that tells of a change once, so workers that failed would not be begun again; and CloudWatch
# may notice a message in a queue that was idle for hours a quarter of an hour late.

# A worker that failed counts as one for an hour, so that what fails at once is not begun again every minute.
locals {
  scaler = var.compute ? templatefile("${path.module}/scaler.asl.json", {
    partition           = data.aws_partition.here.partition
    name                = var.name
    queue_url           = aws_sqs_queue.recordings.url
    job_queue           = aws_batch_job_queue.gpu[0].arn
    job_definition      = aws_batch_job_definition.worker[0].arn
    messages_per_worker = var.messages_per_worker
    max_workers         = var.max_workers
  }) : ""
}

data "aws_iam_policy_document" "scaler" {
  count = local.computed
  statement {
    sid       = "Depth"
    actions   = ["sqs:GetQueueAttributes"]
    resources = [aws_sqs_queue.recordings.arn]
  }
  statement {
    sid       = "Workers"
    actions   = ["batch:ListJobs"] # takes no resource
    resources = ["*"]
  }
  statement {
    sid     = "Begin"
    actions = ["batch:SubmitJob", "batch:TagResource"]
    resources = [
      aws_batch_job_queue.gpu[0].arn,
      "${aws_batch_job_definition.worker[0].arn_prefix}:*",
      "arn:${data.aws_partition.here.partition}:batch:${var.region}:${data.aws_caller_identity.here.account_id}:job/*",
    ]
  }
}

resource "aws_iam_role" "scaler" {
  count = local.computed
  name  = "${var.name}-scaler"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "states.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.here.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "scaler" {
  count  = local.computed
  name   = "scaler"
  role   = aws_iam_role.scaler[0].name
  policy = data.aws_iam_policy_document.scaler[0].json
}

resource "aws_sfn_state_machine" "scaler" {
  count      = local.computed
  name       = "${var.name}-scaler"
  type       = "EXPRESS"
  role_arn   = aws_iam_role.scaler[0].arn
  definition = local.scaler
  depends_on = [aws_iam_role_policy.scaler]
}

# ── the clock ────────────────────────────────────────────────────────────────────────────────────────────────────────

data "aws_iam_policy_document" "clock" {
  count = local.computed
  statement {
    sid       = "Look"
    actions   = ["states:StartExecution"]
    resources = [aws_sfn_state_machine.scaler[0].arn]
  }
  statement {
    sid     = "Sweep"
    actions = ["batch:SubmitJob", "batch:TagResource"]
    resources = [
      aws_batch_job_queue.sweep[0].arn,
      "${aws_batch_job_definition.sweep[0].arn_prefix}:*",
      "arn:${data.aws_partition.here.partition}:batch:${var.region}:${data.aws_caller_identity.here.account_id}:job/*",
    ]
  }
}

resource "aws_iam_role" "clock" {
  count = local.computed
  name  = "${var.name}-clock"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "scheduler.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.here.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "clock" {
  count  = local.computed
  name   = "clock"
  role   = aws_iam_role.clock[0].name
  policy = data.aws_iam_policy_document.clock[0].json
}

resource "aws_scheduler_schedule" "scale" {
  count               = local.computed
  name                = "${var.name}-scale"
  schedule_expression = "rate(1 minute)"
  flexible_time_window {
    mode = "OFF"
  }
  target {
    arn      = aws_sfn_state_machine.scaler[0].arn
    role_arn = aws_iam_role.clock[0].arn
    retry_policy {
      maximum_retry_attempts = 0 # the next minute is soon enough
    }
  }
}
