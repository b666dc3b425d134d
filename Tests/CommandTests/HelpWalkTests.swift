import ArgumentParser
import TestSupport
import Testing

@testable import tspeft

/// What every command's help must have.
@Suite struct HelpWalkTests {
    static let commands = CommandFacts.program.commands.filter { $0.name != "help" }.map(\.name)

    /// Commands whose help is still being written: what it lacks is said and is no failure.
    static let unfinished: Set<String> = []

    private func facts(_ name: String) throws -> CommandFacts { try #require(CommandFacts.program.command(name)) }

    /// The words of a command line without its program's name and without where a shell sends its output.
    private func words(_ call: String) -> [String] {
        var words: [String] = []
        var quote: Character?
        var word: String?
        for character in call.prefix(while: { $0 != ">" }) {
            switch character {
            case "'", "\"":
                if let open = quote, open == character { quote = nil } else if quote == nil { quote = character }
                word = word ?? ""
            case " " where quote == nil:
                if let done = word { words.append(done) }
                word = nil
            default: word = (word ?? "") + String(character)
            }
        }
        return Array((words + [word].compactMap { $0 }).dropFirst())
    }

    @Test(arguments: commands) func twoExamplesOrMoreParse(_ name: String) throws {
        let facts = try facts(name)
        if Self.unfinished.contains(name), facts.examples.count < 2 { return print("\(name) lacks examples") }
        #expect(facts.examples.count >= 2, "\(name)")
        for example in facts.examples {
            #expect(example.hasPrefix("tspeft \(name)"), "\(example)")
            do { _ = try RootCommand.parseAsRoot(words(example)) } catch {
                Issue.record("\(example): \(RootCommand.message(for: error))")
            }
        }
    }

    /// Phrases that tell what holds where an option is not given.
    private static let unless = ["default: ", "unless given", "without", "in place of", "or else"]

    @Test(arguments: commands) func everyOptionSaysWhatHoldsWithoutIt(_ name: String) throws {
        let lacking = try facts(name).options.filter { option in
            option.kind == .option && !option.isRequired && !Self.unless.contains { option.text.contains($0) }
        }
        if Self.unfinished.contains(name) { return print("\(name) lacks defaults: \(lacking.map(\.name))") }
        #expect(lacking.map(\.name).isEmpty, "\(name): \(lacking.map(\.name))")
    }

    @Test(arguments: commands + ["tspeft"]) func helpFitsATerminal(_ name: String) throws {
        let program = Program(folder: packageRoot)
        let outcome = try program.run((name == "tspeft" ? [] : [name]) + ["--help"])
        #expect(outcome.status == 0 && outcome.errors.isEmpty)
        for line in outcome.output.split(separator: "\n") { #expect(line.count <= HelpText.width, "\(line)") }
        let lines = outcome.output.split(separator: "\n").map(String.init)
        #expect(lines[1].hasPrefix("USAGE: tspeft"))
        #expect(Self.unfinished.contains(name) || lines.contains("EXAMPLES:"))
        // What is needed comes before what may be chosen.
        if let needed = lines.firstIndex(of: "NEEDED:"), let others = lines.firstIndex(of: "OPTIONS:") {
            #expect(needed < others)
        }
    }

    @Test(arguments: commands + ["tspeft"]) func manualPageHasEverything(_ name: String) throws {
        let outcome = try Program(folder: packageRoot).run(["---manual", name, "November 22, 2026"])
        #expect(outcome.status == 0)
        let page = outcome.output
        let facts = name == "tspeft" ? CommandFacts.program : try facts(name)
        let examples = Self.unfinished.contains(name) ? [] : ["EXAMPLES"]
        for title in ["SYNOPSIS", "\"EXIT STATUS\"", "\"SEE ALSO\""] + examples {
            #expect(page.contains(".Sh \(title)\n"), "\(title)")
        }
        for (code, meaning) in RootCommand.exitCodes {
            #expect(page.contains(".It Sy \(code)\n") && page.contains(meaning.replacing("-", with: "\\-")))
        }
        for option in facts.options {
            let isThere = page.contains(String(option.name.dropFirst()).replacing("-", with: "\\-"))
            #expect(isThere, "\(option.name)")
        }
        for title in Set(facts.options.filter { !$0.isRequired }.compactMap(\.title)) {
            #expect(page.contains(".Sh \"\(title.uppercased())\""))
        }
    }

    @Test(arguments: [
        ("rank", "did you mean 'rank-modules'?"), ("ranc-modules", "did you mean 'rank-modules'?"),
        ("con", "did you mean 'convert'?"), ("mrege", "did you mean 'merge'?"),
        ("quantize", "did you mean 'convert'?"), ("in", "did you mean 'inject' or 'inspect'?"),
        ("xyzzy", "known: inject, train"),
    ]) func mistypedCommandIsAnsweredWithThatWhichWasMeant(_ given: String, _ answer: String) throws {
        let outcome = try Program(folder: packageRoot).run([given, "x"])
        #expect(outcome.status == 64 && outcome.output.isEmpty && outcome.errorLines.count == 1)
        #expect(outcome.errors.contains("unknown command '\(given)'") && outcome.errors.contains(answer))
    }

    @Test func helpOfAnUnknownCommandIsNoHelpOfAll() throws {
        let outcome = try Program(folder: packageRoot).run(["help", "mrege"])
        #expect(outcome.status == 64 && outcome.output.isEmpty && outcome.errors.contains("'merge'"))
    }

    @Test(arguments: [
        (["merge", "x", "--adaptor", "y"], "did you mean '--adapter'?"),
        (["eval", "x", "--dtyp", "f32"], "Unknown option '--dtyp' (did you mean '--dtype'?); see"),
        (["eval", "x", "--compute", "f32"], "did you mean '--compute-type'?"),
        (["convert", "x", "--outptu", "y"], "did you mean '--output'?"),
        (["convert", "x", "--outptu=y"], "'--output'?"),
        (["convert", "x", "--type", "--json"], "'--type"),
        (["prune", "x", "--qqqqqqqq"], "see 'tspeft prune --help'"),
    ]) func mistypedOptionIsAnsweredWithThatWhichWasMeant(_ given: [String], _ answer: String) throws {
        let outcome = try Program(folder: packageRoot).run(given)
        #expect(outcome.status == 64 && outcome.errorLines.count == 1)
        #expect(outcome.errors.contains(answer), "\(outcome.errors)")
    }
}
