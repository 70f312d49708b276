# Everything that can be chosen. Only `bucket` has no default.

variable "region" {
  description = "AWS region of everything here"
  type        = string
  default     = "us-east-1"
}

variable "name" {
  description = "What the queue, the roles and the rest are called; one for each deployment in an account"
  type        = string
  default     = "dropscribe"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.name))
    error_message = "name: 3 to 32 of a-z, 0-9 and -, beginning with a letter."
  }
}

variable "bucket" {
  description = "The bucket to make: a name that nobody in the world has yet"
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "bucket: a bucket's name, not a URL."
  }
}

variable "prefix" {
  description = "Folder of the bucket in which input/, results/ and the rest lie; empty: at its top"
  type        = string
  default     = ""

  validation {
    condition     = var.prefix == trim(var.prefix, "/")
    error_message = "prefix: without slashes at its ends."
  }
}

variable "kms_key_arn" {
  description = "KMS key for the bucket and the queues; empty: keys of S3 and SQS, which cost nothing. Its policy must let S3 use it for the queue"
  type        = string
  default     = ""
}

variable "results_days" {
  description = "Days after which results, errors and progress manifests go; 0: never"
  type        = number
  default     = 0

  validation {
    condition     = var.results_days >= 0 && floor(var.results_days) == var.results_days
    error_message = "results_days: a whole number, 0 or more."
  }
}

variable "delete_outputs" {
  description = "Workers may delete under results/ and progress/: forms of a result that are not wanted any more, batches cancelled late, DROPSCRIBE_RESULTS_TTL_SECONDS"
  type        = bool
  default     = true
}

variable "uploader_principals" {
  description = "ARNs that may take the uploader's role; none: whoever in this account is allowed to by a policy of its own"
  type        = list(string)
  default     = []
}

variable "reader_principals" {
  description = "ARNs that may take the reader's role; none: whoever in this account is allowed to by a policy of its own"
  type        = list(string)
  default     = []
}

variable "alarm_email" {
  description = "Who is told of alarms and of the budget; empty: nobody"
  type        = string
  default     = ""
}

variable "oldest_message_minutes" {
  description = "A recording that waits longer in the queue raises the alarm"
  type        = number
  default     = 120
}

variable "budget_usd" {
  description = "Monthly budget of what carries this deployment's tag, in US dollars; told at 80 % and when 100 % is forecast; 0: none"
  type        = number
  default     = 100

  validation {
    condition     = var.budget_usd >= 0
    error_message = "budget_usd: 0 or more."
  }
}

variable "compute" {
  description = "Make the GPU workers and the hourly sweep, too; false: bucket, queue, roles and alarms alone"
  type        = bool
  default     = true
}

variable "image_tag" {
  description = "Tag of the GPU image in the repository that is made here"
  type        = string
  default     = "gpu"
}

variable "sweep_image_tag" {
  description = "Tag of the CPU image in the repository that is made here"
  type        = string
  default     = "cpu"
}

variable "model" {
  description = "DROPSCRIBE_MODEL of all workers: name one, so that all mean the same"
  type        = string
  default     = "large-v3-turbo"

  validation {
    condition     = var.model != "" && var.model != "auto"
    error_message = "model: a fleet must name its model; workers whose auto differs do the same recording twice."
  }
}

variable "models" {
  description = "DROPSCRIBE_MODELS: hub, a folder in the image, or s3://BUCKET/PREFIX, which workers may then read"
  type        = string
  default     = "hub"
}

variable "worker_settings" {
  description = "Further DROPSCRIBE_ variables of all workers"
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.worker_settings) : startswith(name, "DROPSCRIBE_")])
    error_message = "worker_settings: names begin with DROPSCRIBE_."
  }
  validation {
    condition     = alltrue([for name in keys(var.worker_settings) : !contains(["DROPSCRIBE_CALLBACK_SECRET", "DROPSCRIBE_LISTEN_TOKEN"], name)])
    error_message = "worker_settings: secrets would stand in Terraform's state; use callback_secret_arn."
  }
}

variable "callback_secret_arn" {
  description = "Secrets Manager's or the Parameter Store's ARN of DROPSCRIBE_CALLBACK_SECRET; empty: callbacks are not signed"
  type        = string
  default     = ""
}

variable "instance_types" {
  description = "GPU instances to choose from, one GPU each; more types mean fewer interruptions"
  type        = list(string)
  default     = ["g4dn.xlarge", "g5.xlarge", "g6.xlarge"]
}

variable "spot" {
  description = "Spot instances, at about a third of the price; a reclaimed worker's job goes on elsewhere"
  type        = bool
  default     = true
}

variable "worker_vcpus" {
  description = "vCPUs of a worker"
  type        = number
  default     = 4
}

variable "worker_memory_mib" {
  description = "Memory of a worker in MiB: less than the smallest instance type has, for its agent needs some"
  type        = number
  default     = 14336
}

variable "max_workers" {
  description = "Most workers at a time: it bounds what an hour can cost"
  type        = number
  default     = 4

  validation {
    condition     = var.max_workers >= 1 && var.max_workers <= 40 && floor(var.max_workers) == var.max_workers
    error_message = "max_workers: 1 to 40, because that many can be begun in one step."
  }
}

variable "messages_per_worker" {
  description = "A worker more for each so many messages in the queue"
  type        = number
  default     = 5

  validation {
    condition     = var.messages_per_worker >= 1
    error_message = "messages_per_worker: 1 or more."
  }
}

variable "worker_hours" {
  description = "Longest life of a worker; it gives its job back at the end"
  type        = number
  default     = 24

  validation {
    condition     = var.worker_hours > 0
    error_message = "worker_hours: more than 0."
  }
}

variable "subnet_ids" {
  description = "Subnets of workers, with a way to S3, SQS, ECR and the logs; none: a small network of two public subnets is made, closed from outside"
  type        = list(string)
  default     = []
}

variable "log_days" {
  description = "Days for which logs are kept"
  type        = number
  default     = 30
}

variable "emulator_endpoint" {
  description = "For tests: URL of a server that speaks AWS's protocols; empty: AWS itself"
  type        = string
  default     = ""
}
