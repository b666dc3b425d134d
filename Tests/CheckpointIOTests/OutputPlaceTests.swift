import CheckpointIO
import Foundation
import TestSupport
import Testing

/// A file system without the flags of `renameat2`.
private func refuseFlags(_ source: UnsafePointer<CChar>, _ target: UnsafePointer<CChar>, _ mode: Int32) -> Int32 {
    if mode == 0 { return rename(source, target) }
    errno = EINVAL
    return -1
}

@Suite struct OutputPlaceTests {
    /// model/{config.json, model.safetensors -> ../blobs/abc}, as Hugging Face's cache has it, with links of both
    /// kinds.
    private func layOut(_ folder: String) throws {
        for name in ["model", "blobs", "other"] { mkdir(folder + "/" + name, 0o755) }
        try writeFile(folder + "/model/config.json", "{}")
        try writeFile(folder + "/blobs/abc", "weights")
        try writeFile(folder + "/other/config.json", "{}")
        try TestSupport.link(folder + "/model/model.safetensors", to: "../blobs/abc")
        try TestSupport.link(folder + "/alias", to: "model")
        try #require(Glibc.link(folder + "/model/config.json", folder + "/hard.json") == 0)
    }

    @Test(arguments: [
        ("model", "model"), ("model/", "model"), ("alias", "model"), ("model", "alias"), ("./other/../model", "model"),
        // A directory around the input, or around what its links lead to.
        (".", "model"), ("model", "model/config.json"), ("model", "alias/config.json"), ("blobs", "model"),
        ("model", "model/model.safetensors"), ("blobs", "model/model.safetensors"),
        // A file of the input.
        ("model/config.json", "model"), ("alias/config.json", "model"), ("blobs/abc", "model"),
        ("model/model.safetensors", "model"), ("hard.json", "model"), ("hard.json", "model/config.json"),
    ])
    func outputThatWouldDestroyTheInputIsSeenThroughLinks(_ output: String, _ input: String) throws {
        try withTemporaryFolder { folder in
            try layOut(folder)
            #expect(wouldReplace(folder + "/" + output, input: folder + "/" + input))
        }
    }

    @Test(arguments: [
        ("other", "model"), ("new", "model"), ("model/new", "model"), ("model/new.gguf", "model"), ("other", "alias"),
        ("model", "other"), ("model", "none"), ("other/config.json", "model"), ("hard.json", "blobs/abc"),
    ])
    func outputBesideTheInputIsAllowed(_ output: String, _ input: String) throws {
        try withTemporaryFolder { folder in
            try layOut(folder)
            #expect(!wouldReplace(folder + "/" + output, input: folder + "/" + input))
        }
    }

    @Test func namesAreTakenWithoutTheFlagsTooAndNothingIsReplaced() throws {
        try withTemporaryFolder { folder in
            func move(_ source: String, _ target: String, _ mode: RenameMode) throws {
                try renameOutput(folder + "/" + source, to: folder + "/" + target, mode, by: refuseFlags)
            }
            for name in ["one", "two", "taken"] { try writeFile(folder + "/" + name, name) }
            for name in ["dir", "dir2", "full"] { mkdir(folder + "/" + name, 0o755) }
            for name in ["dir", "dir2", "full"] { try writeFile(folder + "/\(name)/file", name) }
            try move("one", "file", .exclusive)
            #expect(try readFile(folder + "/file") == Array("one".utf8) && !pathExists(folder + "/one"))
            try move("two", "file", .replacing)
            #expect(try readFile(folder + "/file") == Array("two".utf8))
            try move("dir", "new", .exclusive)
            for (source, target) in [("file", "taken"), ("file", "full"), ("new", "full"), ("new", "taken")] {
                #expect(throws: CheckpointError.outputExists(path: folder + "/" + target)) {
                    try move(source, target, .exclusive)
                }
            }
            try move("new", "full", .exchanging)
            #expect(try readFile(folder + "/full/file") == Array("dir".utf8))
            #expect(try readFile(folder + "/new/file") == Array("full".utf8))
            #expect(try names(in: folder) == ["dir2", "file", "full", "new", "taken"])
            #expect(throws: CheckpointError.self) { try move("none", "full", .exchanging) }
            #expect(try readFile(folder + "/full/file") == Array("dir".utf8))
            #expect(try names(in: folder) == ["dir2", "file", "full", "new", "taken"])
        }
    }

    @Test func outputsFollowTheUsersMask() async {
        // In a process of its own, to which the mask belongs.
        await #expect(processExitsWith: .success) {
            for (mask, file, folderMode) in [(0o077, 0o600, 0o700), (0o022, 0o644, 0o755), (0o002, 0o664, 0o775)] {
                umask(mode_t(mask))
                try withTemporaryFolder { folder in
                    let directory = try AtomicDirectory(folder + "/model")
                    try directory.write("config.json", text: "{}")
                    try directory.commit()
                    var (inner, outer) = (stat(), stat())
                    stat(folder + "/model/config.json", &inner)
                    stat(folder + "/model", &outer)
                    try #require(Int(inner.st_mode & 0o777) == file && Int(outer.st_mode & 0o777) == folderMode)
                }
            }
        }
    }

    @Test func directoryThatBecameSomethingElseMeanwhileIsNotReplaced() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/model"
            mkdir(path, 0o755)
            let output = try AtomicDirectory(OutputTarget(path, replacing: true))
            try output.write("config.json", text: "{}")
            try writeFile(path + "/letter.txt", "dear")
            let error = try #require(throws: CheckpointError.self) { try output.commit() }
            #expect(error.description.contains("neither a model nor an adapter"))
            #expect(try names(in: folder) == ["model"] && names(in: path) == ["letter.txt"])
        }
    }

    /// Names are bytes on most file systems.
    @Test func treeWithNamesThatAreNoTextIsRemoved() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/model"
            mkdir(path, 0o755)
            try writeFile(path + "/config.json", "{}")
            try TestSupport.link(path + "/out", to: folder)
            var name = Array((path + "/caf").utf8CString.dropLast()) + [CChar(truncatingIfNeeded: 0xE9), 0]
            try #require(mkdir(name, 0o755) == 0)
            name.replaceSubrange(name.count - 1..<name.count, with: "/\u{1}x".utf8CString)
            name.replaceSubrange(name.count - 1..<name.count, with: [CChar(truncatingIfNeeded: 0xFF), 0])
            let file = open(name, O_WRONLY | O_CREAT, 0o644)
            try #require(file >= 0)
            close(file)
            #expect(removeTree(path))
            #expect(try names(in: folder).isEmpty)
        }
    }

    @Test func directoryMadeOrRemovedMeanwhileIsReplacedWhereAsked() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/model"
            let early = try AtomicDirectory(OutputTarget(path, replacing: true))
            let late = try AtomicDirectory(OutputTarget(path, replacing: true))
            for (output, text) in [(early, "early"), (late, "late")] {
                try output.write("config.json", text: text)
                try output.write("model.safetensors", text: text)
                try output.commit()
                #expect(try readFile(path + "/config.json") == Array(text.utf8))
            }
            let last = try AtomicDirectory(OutputTarget(path, replacing: true))
            removeTree(path)
            try last.commit()
            #expect(try names(in: folder) == ["model"] && names(in: path).isEmpty)
        }
    }

    @Test func manyWritersOfOneOutputLeaveAWholeOne() async throws {
        let folder = try makeTemporaryFolder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let path = folder + "/model"
        await withTaskGroup(of: Void.self) { group in
            for writer in 0..<8 {
                group.addTask {
                    for round in 0..<10 {
                        // One that loses against others all its attempts says that the output exists.
                        try? Self.write("\(writer) \(round)", to: path)
                    }
                }
            }
        }
        #expect(try names(in: folder) == ["model"])
        let files = ["config.json", "model.safetensors"]
        #expect(try names(in: path) == files)
        #expect(try readFile(path + "/" + files[0]) == readFile(path + "/" + files[1]))
    }

    private static func write(_ text: String, to path: String) throws {
        let output = try AtomicDirectory(OutputTarget(path, replacing: true))
        for name in ["config.json", "model.safetensors"] { try output.write(name, text: text) }
        try output.commit()
    }
}
