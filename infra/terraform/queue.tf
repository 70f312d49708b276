# The queue of what is dropped, and the queue of messages that could not be read.
# The numbers are explained in docs/operations.md, section SQS.

resource "aws_sqs_queue" "dead" {
  name                      = "${var.name}-dead"
  message_retention_seconds = 1209600 # 14 days, the longest
  sqs_managed_sse_enabled   = var.kms_key_arn == "" ? true : null
  kms_master_key_id         = var.kms_key_arn == "" ? null : var.kms_key_arn
}

resource "aws_sqs_queue" "recordings" {
  name                       = var.name
  message_retention_seconds  = 1209600
  visibility_timeout_seconds = 90
  receive_wait_time_seconds  = 20
  sqs_managed_sse_enabled    = var.kms_key_arn == "" ? true : null
  kms_master_key_id          = var.kms_key_arn == "" ? null : var.kms_key_arn

  # A message whose job another worker has comes again and again, which is no failure: attempts are counted in the bucket.
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead.arn
    maxReceiveCount     = 1000
  })
}

resource "aws_sqs_queue_redrive_allow_policy" "dead" {
  count     = local.emulated ? 0 : 1 # moto never answers the look at it
  queue_url = aws_sqs_queue.dead.id
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.recordings.arn]
  })
}

data "aws_iam_policy_document" "queue" {
  statement {
    sid       = "BucketMayTell"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.recordings.arn]
    principals {
      type        = "Service"
      identifiers = ["s3.amazonaws.com"]
    }
    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [aws_s3_bucket.recordings.arn]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.here.account_id]
    }
  }
}

resource "aws_sqs_queue_policy" "recordings" {
  queue_url = aws_sqs_queue.recordings.id
  policy    = data.aws_iam_policy_document.queue.json
}
