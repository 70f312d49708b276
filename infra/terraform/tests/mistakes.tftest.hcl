# Variables that cannot be are refused, each of them, before anything is made.

mock_provider "aws" {}

run "mistakes_are_refused" {
  command = plan

  variables {
    compute         = false
    bucket          = "s3://calls-of-acme"                              # a URL is no bucket
    prefix          = "calls/"                                          # no slash at its end
    name            = "Dropscribe"                                      # AWS takes no capitals everywhere
    model           = "auto"                                            # a fleet names its model
    worker_settings = { DROPSCRIBE_CALLBACK_SECRET = "whsec_c2VjcmV0" } # secrets do not belong into the state
    max_workers     = 0
    results_days    = 0.5
    budget_usd      = -1
  }

  expect_failures = [
    var.bucket,
    var.prefix,
    var.name,
    var.model,
    var.worker_settings,
    var.max_workers,
    var.results_days,
    var.budget_usd,
  ]
}
