import Foundation
import TestSupport
import Testing

@testable import tspeft

/// Where the demo looks for its model and data.
struct DemoFixturesTests {
    /// Lays out what makes a folder the demo's.
    @discardableResult private func lay(_ folder: String) throws -> String {
        for file in ["tiny-llama/config.json", "sst2/train.json"] {
            let path = folder + "/" + file
            try FileManager.default.createDirectory(
                atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
            try writeFile(path, "{}")
        }
        return folder
    }

    @Test func installedProgramFindsItsShare() throws {
        try withTemporaryFolder { folder in
            let share = try lay(folder + "/usr/share/tspeft")
            try lay(folder + "/home/Fixtures")
            let places = DemoFixtures(program: folder + "/usr/bin/tspeft", currentFolder: folder + "/home")
            #expect(try places.find() == share)
        }
    }

    @Test func builtProgramFindsItsSources() throws {
        try withTemporaryFolder { folder in
            let sources = try lay(folder + "/sources/Fixtures")
            let built = DemoFixtures(program: folder + "/sources/.build/release/tspeft", currentFolder: folder)
            #expect(try built.find() == sources)
            let elsewhere = DemoFixtures(program: folder + "/bin/tspeft", currentFolder: folder + "/sources/Tests")
            #expect(try elsewhere.find() == sources)
        }
    }

    @Test func environmentComesFirst() throws {
        try withTemporaryFolder { folder in
            let named = try lay(folder + "/named")
            try lay(folder + "/usr/share/tspeft")
            let program = folder + "/usr/bin/tspeft"
            #expect(try DemoFixtures(named: named, program: program, currentFolder: nil).find() == named)
            // Set to nothing is not set.
            let unnamed = DemoFixtures(named: "", program: program, currentFolder: nil)
            #expect(try unnamed.find() == folder + "/usr/share/tspeft")
        }
    }

    @Test func incompleteFoldersArePassedOverButNotWhereNamed() throws {
        try withTemporaryFolder { folder in
            let share = try lay(folder + "/usr/share/tspeft")
            try FileManager.default.removeItem(atPath: share + "/sst2/train.json")
            let fixtures = try lay(folder + "/home/Fixtures")
            var places = DemoFixtures(program: folder + "/usr/bin/tspeft", currentFolder: folder + "/home")
            #expect(try places.find() == fixtures)
            places.named = share
            let error = #expect(throws: (any Error).self) { try places.find() }
            #expect(
                error.map { OptionWords.text($0) } == """
                    \(share): TSPEFT_FIXTURES names this folder, but it holds no tiny-llama and sst2
                    """)
        }
    }

    @Test func missingFixturesAreOneSentenceWithTheRemedy() throws {
        try withTemporaryFolder { folder in
            let places = DemoFixtures(program: folder + "/bin/tspeft", currentFolder: folder)
            let error = #expect(throws: (any Error).self) { try places.find() }
            #expect(
                error.map { OptionWords.text($0) } == """
                    Fixtures: the demo's model and data were not found; looked in \(folder)/share/tspeft, and above the \
                    program and this folder for Fixtures; name their folder with --fixtures or TSPEFT_FIXTURES
                    """)
        }
    }
}
