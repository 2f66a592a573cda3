clean <- function(x) gsub("[[:cntrl:]]+", " ", enc2utf8(paste(x, collapse = " ")))
tell <- function(file, test, status, seconds, said) {
  seconds <- if (length(seconds) != 1 || is.na(seconds)) 0 else seconds
  cells <- c(clean(file), clean(test), status, sprintf("%.3f", seconds), substr(clean(said), 1, 2000))
  writeLines(paste(cells, collapse = "\t"), out, useBytes = TRUE)
  flush(out)
  if (status %in% c("failed", "error", "collection")) bad <<- TRUE
}
bad <- FALSE
arguments <- commandArgs(TRUE)
out <- file(file.path(Sys.getenv("VERIFACTORY_OUT"), "tests.tsv"), open = "w")
