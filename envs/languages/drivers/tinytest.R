library(tinytest)
suppressPackageStartupMessages(library(arguments[[1]], character.only = TRUE))
for (path in arguments[-1]) {
  cat("verifactory: script ", path, "\n", sep = "")
  failed <- tryCatch({
    for (one in run_test_file(path, verbose = 0, color = FALSE)) {
      call <- paste(deparse(attr(one, "call")), collapse = " ")
      status <- if (is.na(one)) "skipped" else if (one) "passed" else "failed"
      tell(path, substr(call, 1, 500), status, 0, if (isTRUE(as.logical(one))) "" else attr(one, "diff"))
    }
    NULL
  }, error = conditionMessage)
  if (!is.null(failed)) tell(path, "", "collection", 0, failed)
}
close(out)
quit(status = if (bad) 1 else 0)
