import Foundation
import TSPEFT
import TestSupport
import Testing

@testable import tspeft

/// Completion, as the program answers it and as real shells show it.
@Suite struct CompletionTests {
    private func words(_ line: String...) -> [String] {
        guard case .words(let words) = Completion.answer(line) else { return [] }
        return words.map(\.text)
    }

    @Test func commandsAndOptions() {
        #expect(words("") == CommandFacts.program.commands.map(\.name))
        #expect(words("m") == ["merge"])
        #expect(words("help", "pr") == ["prune"])
        #expect(words("-") == ["--version", "--help"])
        #expect(words("merge", "base", "--ad") == ["--adapter"])
        #expect(words("merge", "base", "--adapter", "a", "--ad") == ["--adapter"], "it may be given again")
        #expect(words("merge", "base", "--type", "f16", "--typ") == [])
        #expect(!words("merge", "base", "--").contains("--dtype"), "old names are not offered")
        #expect(words("nothing", "x") == [])
    }

    @Test func valuesOfOptions() {
        #expect(words("merge", "base", "--type", "q4_k") == ["q4_k_m", "q4_k_s"])
        #expect(words("convert", "base", "--type=q5_k") == ["--type=q5_k_m", "--type=q5_k_s"])
        #expect(words("convert", "base", "--type", "=", "q5_k") == ["q5_k_m", "q5_k_s"])
        #expect(words("convert", "base", "--to", "") == ConvertFormat.allCases.map(\.rawValue))
        #expect(words("merge", "base", "--gates", "") == ["scale", "drop"])
        #expect(words("rank-modules", "a", "--by", "rel") == ["relative-norm"])
        #expect(words("inject", "base", "--preset", "").contains("csr"))
        #expect(words("inject", "base", "--method", "ts-l") == ["ts-lora"])
        #expect(words("eval", "base", "--compute-type", "b") == ["bf16"])
        #expect(words("completions", "") == ["bash", "zsh", "fish"])
        let base = fixture("tiny-llama")
        #expect(words("inject", base, "--targets", "q") == ["q_proj"])
        #expect(words("inject", base, "--targets", "q_proj,k") == ["q_proj,k_proj"])
        #expect(words("inject", "no/such/base", "--targets", "all") == ["all-linear"])
    }

    @Test func filesAndDirectories() {
        let models = ["gguf", "safetensors", "safetensors.zst", "index.json"]
        #expect(Completion.answer(["merge", ""]) == .files(endings: models))
        #expect(Completion.answer(["merge", "base", "-o", "x"]) == .files(endings: []))
        #expect(Completion.answer(["inject", "base", "--from-peft", ""]) == .directories)
        #expect(Completion.answer(["demo", "--fixtures", ""]) == .directories)
        guard case .files(let endings) = Completion.answer(["train", "base", "--data", ""]) else {
            Issue.record("records are files")
            return
        }
        #expect(endings.contains("jsonl"))
    }

    @Test func scriptsAreThoseOfTheParsersOptionToo() throws {
        let program = Program(folder: packageRoot)
        for shell in CompletionScripts.shells {
            let script = try program.run(["completions", shell])
            #expect(script.status == 0 && script.output.contains("---complete"))
            #expect(try program.run(["--generate-completion-script", shell]).output == script.output)
            #expect(try program.run(["--generate-completion-script=\(shell)"]).output == script.output)
        }
        let answer = try program.run(["---complete", "mer"])
        #expect(answer.output == "words\nmerge\tPut adapters into the base's weights.\n")
        let other = try program.run(["completions", "tcsh"])
        #expect(other.status == 64 && other.errors.contains("bash, zsh, fish"))
    }

    // MARK: Real shells

    /// Lines of a command line, and what the shell must offer for each.
    private static let lines: [(line: String, offered: [String])] = [
        ("tspeft mer", ["merge"]),
        ("tspeft merge --ty", ["--type"]),
        ("tspeft merge models/base.gguf --type q4_k", ["q4_k_m", "q4_k_s"]),
        ("tspeft convert x --type=q5_k", ["q5_k_m", "q5_k_s"]),
        ("tspeft inject base --method ts-l", ["ts-lora"]),
        ("tspeft rank-modules a --by rel", ["relative-norm"]),
        ("tspeft merge models/", ["base.gguf", "sub"]), ("tspeft merge ", ["models"]),
        ("tspeft train base --data rec", ["records.jsonl"]),
        ("tspeft inject base --from-peft mod", ["models"]),
    ]
    /// What no shell may offer beside.
    private static let wrong = ["notes.md", "records.md", "modern.txt", ".hidden.gguf"]

    private func prepare(_ folder: String) throws {
        for name in ["models/sub", "bin"] {
            try FileManager.default.createDirectory(atPath: folder + "/" + name, withIntermediateDirectories: true)
        }
        for name in [
            "models/base.gguf", "models/notes.md", "records.jsonl", "records.md", "modern.txt", ".hidden.gguf",
        ] {
            try writeFile(folder + "/" + name, "")
        }
        try FileManager.default.createSymbolicLink(
            atPath: folder + "/bin/tspeft", withDestinationPath: Program.path)
    }

    private func shell(_ name: String) -> String? {
        ["/usr/bin/", "/bin/"].map { $0 + name }.first { access($0, X_OK) == 0 }
    }

    /// Asks a shell for what it offers; nil, and said, where it is not there.
    private func ask(_ name: String, _ folder: String, _ text: (String) -> String) throws -> [[String]]? {
        guard shell(name) != nil else {
            print("not run: \(name): not installed")
            return nil
        }
        return try Self.lines.map { line in
            try writeFile(folder + "/ask", text(line.line))
            let outcome = try Program(folder: folder).shell(
                "PATH=\"$PWD/bin:$PATH\" HOME=\"$PWD\" TERM=dumb \(name) \(name == "zsh" ? "-f " : "")ask")
            #expect(outcome.status == 0, "\(outcome.errors)")
            return outcome.output.split(separator: "\n").map { $0.split(separator: "\t").first.map(String.init) ?? "" }
        }
    }

    private func check(_ shell: String, _ answers: [[String]]) {
        for ((line, offered), answer) in zip(Self.lines, answers) {
            for word in offered {
                let isThere =
                    answer.contains { $0 == word || $0.hasSuffix("/" + word) || $0 == word + "/" }
                    || answer.contains { $0.hasSuffix("=" + word) || $0.hasSuffix("/" + word + "/") }
                #expect(isThere, "\(shell): '\(line)' lacks \(word): \(answer)")
            }
            for word in Self.wrong { #expect(!answer.contains { $0.hasSuffix(word) }, "\(shell): '\(line)': \(word)") }
        }
    }

    @Test func bashCompletes() throws {
        try withTemporaryFolder { folder in
            try prepare(folder)
            // As readline calls it: the words of the line, split at = too.
            let answers = try ask("bash", folder) { line in
                """
                source <(tspeft completions bash)
                compopt() { :; }
                line='\(line.replacing("=", with: " = "))'
                COMP_WORDS=($line)
                [[ $line == *' ' ]] && COMP_WORDS+=("")
                COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
                _tspeft
                printf '%s\\n' "${COMPREPLY[@]}"
                """
            }
            if let answers { check("bash", answers) }
        }
    }

    @Test func fishCompletes() throws {
        try withTemporaryFolder { folder in
            try prepare(folder)
            let answers = try ask("fish", folder) { "tspeft completions fish | source\ncomplete -C '\($0)'\n" }
            if let answers { check("fish", answers) }
        }
    }

    /// zsh completes in its line editor alone, so it gets one: a shell in a pseudo-terminal, to which a line and a tab
    /// are sent, and which lists what there is.
    @Test func zshCompletes() throws {
        try withTemporaryFolder { folder in
            try prepare(folder)
            let answers = try ask("zsh", folder) { line in
                #"""
                zmodload zsh/zpty
                zpty z zsh -f -i
                zpty -w z 'stty -echo cols 200; bindkey -e; bindkey "^X" list-choices; LISTMAX=0; setopt no_prompt_sp'
                zpty -w z 'autoload -U compinit; compinit -u -D; source <(tspeft completions zsh); PROMPT=RE""ADY'
                # Reads until there is a prompt, or a bell, which says that there is nothing to list.
                await() {
                    seen=
                    for i in {1..300}; do
                        while zpty -r -t z text; do seen+=$text; done
                        [[ $seen == *READY* || $seen == *$'\a'* ]] && return
                        sleep 0.1
                    done
                }
                await
                zpty -w -n z '\#(line)'$'\C-x'
                await
                for word in ${=${seen//$'\r'/}}; do print -r -- "$word"; done
                zpty -d z
                """#
            }
            if let answers { check("zsh", answers) }
        }
    }
}
