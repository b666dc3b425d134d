import CheckpointIO
import Foundation
import TensorCore
import TestSupport
import Testing

/// Every write to it fails with ENOSPC.
private func fillDisk(of writer: AtomicFileWriter) throws {
    let full = open("/dev/full", O_WRONLY)
    try #require(full >= 0 && dup2(full, writer.descriptor) >= 0)
    close(full)
}

@Test func fileAppearsWholeAtCommit() throws {
    try withTemporaryFolder { folder in
        let path = folder + "/out"
        let writer = try AtomicFileWriter(path)
        try writer.write(Array("hello ".utf8))
        try writer.write(Array("world".utf8))
        #expect(!pathExists(path) && writer.byteCount == 11)
        try writer.commit()
        #expect(try readFile(path) == Array("hello world".utf8))
        #expect(try names(in: folder) == ["out"])
    }
}

@Test func fileThatIsGivenUpLeavesNothing() throws {
    try withTemporaryFolder { folder in
        do {
            let writer = try AtomicFileWriter(folder + "/out")
            try writer.write([1])
            #expect(try names(in: folder).count == 1)
        }
        #expect(try names(in: folder) == [])
    }
}

@Test func existingFileIsKeptUnlessReplacing() throws {
    try withTemporaryFolder { folder in
        let path = folder + "/out"
        try writeFile(path, "old")
        let error = try #require(throws: CheckpointError.self) { try AtomicFileWriter(path) }
        #expect(error == .outputExists(path: path) && error.exitStatus == .cannotCreate)
        let writer = try AtomicFileWriter(OutputTarget(path, replacing: true))
        try writer.write(Array("new".utf8))
        #expect(try readFile(path) == Array("old".utf8))
        try writer.commit()
        #expect(try readFile(path) == Array("new".utf8))
        #expect(try names(in: folder) == ["out"])
    }
}

@Test func fileMadeMeanwhileIsNotOverwritten() throws {
    try withTemporaryFolder { folder in
        let path = folder + "/out"
        let writer = try AtomicFileWriter(path)
        try writer.write([1])
        try writeFile(path, "other")
        #expect(throws: CheckpointError.outputExists(path: path)) { try writer.commit() }
        #expect(try readFile(path) == Array("other".utf8))
        #expect(try names(in: folder) == ["out"])
    }
}

@Test func fullDiskIsOneErrorAndLeavesTheOldFile() throws {
    try withTemporaryFolder { folder in
        let path = folder + "/out"
        try writeFile(path, "old")
        let writer = try AtomicFileWriter(OutputTarget(path, replacing: true))
        try fillDisk(of: writer)
        let error = try #require(throws: CheckpointError.self) { try writer.write([1, 2, 3]) }
        #expect(error == .writeFailed(path: path, code: ENOSPC) && error.exitStatus == .inputOutput)
        #expect(try names(in: folder) == ["out"])
        #expect(try readFile(path) == Array("old".utf8))
    }
}

@Test func fullDiskDuringACopyLeavesNothing() throws {
    try withTemporaryFolder { folder in
        let source = try MappedFile.open(fixture("formats/blocks.gguf"))
        let writer = try AtomicFileWriter(folder + "/out")
        try fillDisk(of: writer)
        #expect(throws: CheckpointError.writeFailed(path: folder + "/out", code: ENOSPC)) {
            try writer.copy(0..<source.byteCount, of: source)
        }
        #expect(try names(in: folder) == [])
    }
}

@Test func outputThatCannotBeMadeSaysWhy() throws {
    try withTemporaryFolder { folder in
        try writeFile(folder + "/file", "")
        symlink("nowhere", folder + "/dangling")
        for path in [folder + "/none/out", folder + "/file/out", folder + "/", ""] {
            let error = try #require(throws: CheckpointError.self) {
                try AtomicFileWriter(OutputTarget(path, replacing: true))
            }
            #expect(error.exitStatus == .cannotCreate, "\(error)")
        }
        for path in ["/dev/null", folder, folder + "/dangling"] {
            let error = try #require(throws: CheckpointError.self) {
                try AtomicFileWriter(OutputTarget(path, replacing: true))
            }
            #expect(error.exitStatus == .cannotCreate, "\(error)")
        }
        #expect(throws: CheckpointError.outputExists(path: folder + "/dangling")) {
            try AtomicFileWriter(folder + "/dangling")
        }
    }
}

@Test func linkStaysALinkWhenItsFileIsReplaced() throws {
    try withTemporaryFolder { folder in
        try writeFile(folder + "/file", "old")
        symlink("file", folder + "/link")
        let writer = try AtomicFileWriter(OutputTarget(folder + "/link", replacing: true))
        try writer.write(Array("new".utf8))
        try writer.commit()
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: folder + "/link") == "file")
        #expect(try readFile(folder + "/file") == Array("new".utf8))
    }
}

@Test func directoryAppearsWholeAtCommit() throws {
    try withTemporaryFolder { folder in
        let output = try AtomicDirectory(folder + "/model/")
        try output.write("config.json", text: "{}")
        try output.copyFile(from: fixture("formats/blocks.gguf"), to: "copy.gguf")
        try output.makeDirectory("sub")
        try output.write("sub/x", [1])
        #expect(!pathExists(folder + "/model"))
        try output.commit()
        #expect(try names(in: folder) == ["model"])
        #expect(try names(in: folder + "/model") == ["config.json", "copy.gguf", "sub"])
        #expect(try readFile(folder + "/model/copy.gguf") == readFile(fixture("formats/blocks.gguf")))
        #expect(try readFile(folder + "/model/sub/x") == [1])
    }
}

@Test func directoryThatIsGivenUpLeavesNothing() throws {
    try withTemporaryFolder { folder in
        do {
            let output = try AtomicDirectory(folder + "/model")
            try output.write("a", [1])
        }
        #expect(try names(in: folder) == [])
    }
}

@Test func existingDirectoryIsReplacedAsAWhole() throws {
    try withTemporaryFolder { folder in
        let path = folder + "/model"
        mkdir(path, 0o755)
        try writeFile(path + "/config.json", "old")
        try writeFile(path + "/model.safetensors", "old")
        #expect(throws: CheckpointError.outputExists(path: path)) { try AtomicDirectory(path) }
        let output = try AtomicDirectory(OutputTarget(path, replacing: true))
        try output.write("config.json", text: "new")
        #expect(try readFile(path + "/config.json") == Array("old".utf8))
        try output.commit()
        #expect(try names(in: path) == ["config.json"])
        #expect(try readFile(path + "/config.json") == Array("new".utf8))
        #expect(try names(in: folder) == ["model"])
    }
}

@Test func directoryMadeMeanwhileIsNotReplaced() throws {
    try withTemporaryFolder { folder in
        let path = folder + "/model"
        let output = try AtomicDirectory(path)
        try output.write("a", [1])
        mkdir(path, 0o755)
        try writeFile(path + "/mine", "mine")
        #expect(throws: CheckpointError.outputExists(path: path)) { try output.commit() }
        #expect(try names(in: folder) == ["model"] && names(in: path) == ["mine"])
    }
}

@Test func directoryOfAnotherKindIsNeverReplaced() throws {
    try withTemporaryFolder { folder in
        mkdir(folder + "/home", 0o755)
        try writeFile(folder + "/home/letter.txt", "dear")
        let error = try #require(throws: CheckpointError.self) {
            try AtomicDirectory(OutputTarget(folder + "/home", replacing: true))
        }
        #expect(error.exitStatus == .cannotCreate && error.description.contains("neither a model nor an adapter"))
        // A project of another kind may have this file too.
        try writeFile(folder + "/home/config.json", "{}")
        #expect(throws: error) { try AtomicDirectory(OutputTarget(folder + "/home", replacing: true)) }
        #expect(try names(in: folder + "/home") == ["config.json", "letter.txt"])
        try writeFile(folder + "/file", "")
        #expect(throws: CheckpointError.self) { try AtomicDirectory(OutputTarget(folder + "/file", replacing: true)) }
        #expect(throws: CheckpointError.self) { try AtomicDirectory(folder + "/none/model") }
        #expect(throws: CheckpointError.self) { try AtomicDirectory("") }
        #expect(try names(in: folder) == ["file", "home"])
    }
}

@Test func failureInsideADirectoryLeavesTheOldOne() throws {
    try withTemporaryFolder { folder in
        let path = folder + "/model"
        mkdir(path, 0o755)
        try writeFile(path + "/config.json", "old")
        func attempt() throws {
            let output = try AtomicDirectory(OutputTarget(path, replacing: true))
            try output.write("config.json", text: "new")
            let file = try output.writer("model.safetensors")
            try fillDisk(of: file)
            try file.write([1])
            try output.commit()
        }
        #expect(throws: CheckpointError.self) { try attempt() }
        #expect(try names(in: folder) == ["model"])
        #expect(try readFile(path + "/config.json") == Array("old".utf8))
    }
}

@Test func zstdRoundTripsAndRefusesWhatIsNotWhole() throws {
    try withTemporaryFolder { folder in
        let path = folder + "/data.zst"
        let text = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
        let packed = Zstd.compress(text)
        #expect(packed.count < text.count / 5)
        try writeFile(path, packed)
        #expect(try Zstd.decompress(file: path, limit: text.count) == text)
        #expect(throws: CheckpointError.tooLarge(path: path, limit: text.count - 1)) {
            try Zstd.decompress(file: path, limit: text.count - 1)
        }
        // Frames one after another are one text.
        try writeFile(path, packed + Zstd.compress([1, 2, 3]))
        #expect(try Zstd.decompress(file: path, limit: 200_000) == text + [1, 2, 3])
        for bad in [[], Array(packed.dropLast()), Array(packed.prefix(3)), packed + [1, 2, 3, 4], [1, 2, 3, 4, 5]] {
            try writeFile(path, bad)
            let error = try #require(throws: CheckpointError.self) {
                try Zstd.decompress(file: path, limit: 1 << 20)
            }
            #expect(error.exitStatus == .badData && error.description.contains("data.zst"))
        }
        try writeFile(path, Zstd.compress([]))
        #expect(try Zstd.decompress(file: path, limit: 0) == [])
    }
}

@Test func programToldToStopRemovesItsTemporaries() async {
    // In a process of its own: the registry belongs to the whole process, and other tests write beside this one.
    await #expect(processExitsWith: .success) {
        try withTemporaryFolder { folder in
            let file = try AtomicFileWriter(folder + "/file")
            try file.write([1])
            let directory = try AtomicDirectory(folder + "/model")
            try directory.write("config.json", text: "{}")
            let inner = try directory.writer("unfinished")
            let finished = try AtomicFileWriter(folder + "/finished")
            try finished.commit()
            try #require(try names(in: folder).count == 3)
            TemporaryOutputs.removeAll()
            try #require(try names(in: folder) == ["finished"])
            withExtendedLifetime((file, directory, inner)) {}
        }
    }
}
