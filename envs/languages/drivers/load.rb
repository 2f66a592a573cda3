broken = false
at_exit { exit 1 if broken }
require ENV.fetch("VERIFACTORY_RUNNER")
files, options = ARGV.partition { |argument| argument.end_with?(".rb") }
ARGV.replace(options)
files.each do |file|
  begin
    require File.expand_path(file)
  rescue ScriptError, StandardError => error
    broken = true
    puts "verifactory: cannot load #{file}: #{error.class}: #{error.message.lines.first.to_s.strip}"
  end
end
