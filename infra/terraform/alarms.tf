# What wakes somebody up, and what it may cost. The stand-in of the tests has none of it.

locals {
  watched    = local.emulated ? 0 : 1
  told       = local.watched == 1 && var.alarm_email != "" ? 1 : 0
  budgeted   = local.watched == 1 && var.budget_usd > 0 ? 1 : 0
  dimensions = { QueueName = aws_sqs_queue.recordings.name }
}

resource "aws_sns_topic" "alarms" {
  count = local.watched
  name  = "${var.name}-alarms"
}

data "aws_iam_policy_document" "alarms" {
  count = local.watched
  statement {
    sid       = "AlarmsMayTell"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarms[0].arn]
    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.here.account_id]
    }
  }
  statement {
    sid       = "RulesMayTell" # without a condition: EventBridge's messages to a topic do not name their account
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarms[0].arn]
    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
  }
}

resource "aws_sns_topic_policy" "alarms" {
  count  = local.watched
  arn    = aws_sns_topic.alarms[0].arn
  policy = data.aws_iam_policy_document.alarms[0].json
}

resource "aws_sns_topic_subscription" "email" {
  count     = local.told
  topic_arn = aws_sns_topic.alarms[0].arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

resource "aws_cloudwatch_metric_alarm" "dead_letters" {
  count               = local.watched
  alarm_name          = "${var.name}-dead-letters"
  alarm_description   = "Messages that could not be read lie in ${aws_sqs_queue.dead.name}. See docs/operations.md, Poison."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.dead.name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms[0].arn]
  ok_actions          = [aws_sns_topic.alarms[0].arn]
}

resource "aws_cloudwatch_metric_alarm" "oldest_message" {
  count               = local.watched
  alarm_name          = "${var.name}-oldest-message"
  alarm_description   = "A recording waits for more than ${var.oldest_message_minutes} minutes: no worker starts, or too few."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = local.dimensions
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 2
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.oldest_message_minutes * 60
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms[0].arn]
  ok_actions          = [aws_sns_topic.alarms[0].arn]
}

# The tag must be switched on as a cost allocation tag, in the billing console, before the budget sees anything.
resource "aws_budgets_budget" "monthly" {
  count        = local.budgeted
  name         = var.name
  budget_type  = "COST"
  limit_amount = tostring(var.budget_usd)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  cost_filter {
    name   = "TagKeyValue"
    values = [join("$", ["user:application", var.name])]
  }

  dynamic "notification" {
    for_each = var.alarm_email == "" ? {} : { ACTUAL = 80, FORECASTED = 100 }
    content {
      comparison_operator        = "GREATER_THAN"
      notification_type          = notification.key
      threshold                  = notification.value
      threshold_type             = "PERCENTAGE"
      subscriber_email_addresses = [var.alarm_email]
    }
  }
}

resource "aws_cloudwatch_dashboard" "overview" {
  count          = local.watched
  dashboard_name = var.name
  dashboard_body = jsonencode({
    widgets = [for place, widget in [
      {
        title = "Messages", stat = "Maximum"
        metrics = [
          ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", aws_sqs_queue.recordings.name, { label = "waiting" }],
          [".", "ApproximateNumberOfMessagesNotVisible", ".", ".", { label = "being worked on" }],
          [".", "ApproximateNumberOfMessagesVisible", ".", aws_sqs_queue.dead.name, { label = "dead letters" }],
        ]
      },
      {
        title   = "Oldest message, seconds", stat = "Maximum"
        metrics = [["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", aws_sqs_queue.recordings.name]]
      },
      {
        title = "Dropped and done", stat = "Sum"
        metrics = [
          ["AWS/SQS", "NumberOfMessagesSent", "QueueName", aws_sqs_queue.recordings.name, { label = "dropped" }],
          [".", "NumberOfMessagesDeleted", ".", ".", { label = "done" }],
        ]
      },
      {
        title = "Log lines of workers and sweep", stat = "Sum"
        metrics = [
          ["AWS/Logs", "IncomingLogEvents", "LogGroupName", "/${var.name}/worker"],
          [".", ".", ".", "/${var.name}/sweep"],
        ]
      },
      ] : {
      type   = "metric"
      x      = 12 * (place % 2)
      y      = 6 * floor(place / 2)
      width  = 12
      height = 6
      properties = {
        title   = widget.title
        region  = var.region
        view    = "timeSeries"
        stat    = widget.stat
        period  = 300
        metrics = widget.metrics
      }
    }]
  })
}
