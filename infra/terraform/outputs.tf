# What to type next.

output "bucket" {
  description = "For BUCKET in dropscribe's commands"
  value       = local.store
}

output "queue" {
  description = "For --queue"
  value       = aws_sqs_queue.recordings.url
}

output "dead_letters" {
  description = "Messages that could not be read"
  value       = aws_sqs_queue.dead.url
}

output "roles" {
  description = "Roles by who takes them"
  value       = merge({ for who, role in aws_iam_role.person : who => role.arn }, { for who, role in aws_iam_role.task : who => role.arn })
}

output "image" {
  description = "The repository that images are pushed to"
  value       = one(aws_ecr_repository.image[*].repository_url)
}

output "try" {
  description = "Commands to try, in this order"
  value = concat(
    [
      for one in [aws_ecr_repository.image] : join("\n", [
        "aws ecr get-login-password --region ${var.region} | docker login --username AWS --password-stdin ${split("/", one[0].repository_url)[0]}",
        "docker build --target gpu -t ${one[0].repository_url}:${var.image_tag} . && docker push ${one[0].repository_url}:${var.image_tag}",
        "docker build --target cpu -t ${one[0].repository_url}:${var.sweep_image_tag} . && docker push ${one[0].repository_url}:${var.sweep_image_tag}",
      ]) if var.compute
    ],
    [
      "export AWS_REGION=${var.region}",
      "dropscribe doctor ${local.store}",
      "aws s3 cp examples/jfk.flac ${local.store}/input/jfk.flac",
    ],
    var.compute ? [] : ["dropscribe work ${local.store} --queue ${aws_sqs_queue.recordings.url} --drain"],
    [
      "dropscribe status ${local.store} jfk.flac --watch",
      "aws s3 cp ${local.store}/results/jfk.flac.json -",
    ],
  )
}
