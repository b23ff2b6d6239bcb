# `brew install --HEAD ./packaging/homebrew/sterna.rb` in a clone. A formula of a tap names a release instead of `head`,
# with its checksum, and its resources, which `brew update-python-resources` writes.
class Sterna < Formula
  include Language::Python::Virtualenv

  desc "Train, convert, pack and run ternary (BitNet b1.58) language models on CPUs"
  license "Apache-2.0"
  head "file://#{File.expand_path("../..", __dir__)}", using: :git, branch: "main"

  depends_on "cmake" => :build
  depends_on "ninja" => :build
  depends_on "python@3.12"

  def install
    virtualenv_create(libexec, "python3.12")
    system libexec/"bin/python", "-m", "pip", "install", buildpath
    bin.install_symlink libexec/"bin/sterna"
    generate_completions_from_executable(bin/"sterna", "--show-completion", shells: [:bash, :zsh, :fish])
  end

  service do
    run [opt_bin/"sterna", "serve"]
    keep_alive true
    log_path var/"log/sterna.log"
    error_log_path var/"log/sterna.log"
  end

  test do
    assert_match "sterna-tern", shell_output("#{bin}/sterna info")
    assert_equal 0, shell_output("#{bin}/sterna run -p a -n 1 --temp 0").count("\0")
  end
end
