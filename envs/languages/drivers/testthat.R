library(testthat)
said <- function(test) {
  bad <- Filter(function(r) !inherits(r, c("expectation_success", "expectation_warning")), test$results)
  if (length(bad)) conditionMessage(bad[[1]]) else ""
}
status <- function(test) {
  is <- function(kind) any(vapply(test$results, inherits, TRUE, paste0("expectation_", kind)))
  if (is("error")) "error" else if (is("failure")) "failed"
  else if (is("skip") || !is("success")) "skipped" else "passed"
}
for (path in arguments[-1]) {
  cat("verifactory: script ", path, "\n", sep = "")
  list <- ListReporter$new()
  both <- MultiReporter$new(reporters = list(LocationReporter$new(), list))
  failed <- tryCatch({
    test_file(path, reporter = both, package = arguments[[1]], load_package = "installed", stop_on_failure = FALSE)
    NULL
  }, error = conditionMessage)
  for (test in list$get_results()) {
    name <- test$test
    if (is.null(name) || is.na(name)) failed <- said(test)
    else tell(path, name, status(test), as.numeric(test$real), said(test))
  }
  if (!is.null(failed)) tell(path, "", "collection", 0, failed)
}
close(out)
quit(status = if (bad) 1 else 0)
