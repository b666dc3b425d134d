import TestSupport
import Testing

/// What the program says about itself.
@Suite struct HelpTests {
    static let commands = [
        "inject", "train", "eval", "generate", "rank-modules", "prune", "merge", "convert", "export", "inspect",
        "demo",
    ]

    @Test func versionIsOneLine() throws {
        let outcome = try Program(folder: packageRoot).run(["--version"])
        #expect(outcome.status == 0)
        #expect(outcome.output.hasPrefix("tspeft "))
        #expect(outcome.output.split(separator: "\n").count == 1)
    }

    @Test func helpListsTheCommandsInTheOrderOfWork() throws {
        let outcome = try Program(folder: packageRoot).run(["--help"])
        #expect(outcome.status == 0 && outcome.errors.isEmpty)
        let listed = outcome.output.split(separator: "\n").compactMap { line -> String? in
            guard line.hasPrefix("  "), !line.hasPrefix("   ") else { return nil }
            return line.split(separator: " ").first.map(String.init)
        }
        #expect(listed.filter(Self.commands.contains) == Self.commands)
    }

    @Test(arguments: commands)
    func eachCommandExplainsItself(_ command: String) throws {
        let program = Program(folder: packageRoot)
        let outcome = try program.run([command, "--help"])
        #expect(outcome.status == 0 && outcome.errors.isEmpty)
        #expect(outcome.output.contains("USAGE: tspeft \(command)"))
        #expect(try program.run(["help", command]).output == outcome.output)
    }

    @Test(arguments: commands)
    func eachCommandHasAManualPage(_ command: String) throws {
        let page = String(decoding: try readFile(packageRoot + "/man/tspeft.\(command).1"), as: UTF8.self)
        #expect(page.contains(".Nm \"tspeft \(command)\""))
    }
}
