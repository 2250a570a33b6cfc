import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import java.util.List;

/** A server in memory on a port of this machine; it ends with its input. */
public class StandIn {
    /** What it says to be: its own newest claims a wire version that PyMongo does not speak any more. */
    record Version() implements MongoVersion {
        public List<Integer> getVersionArray() { return List.of(5, 0, 0); }
        public int getWireVersion() { return 13; }
    }

    public static void main(String[] arguments) throws Exception {
        MemoryBackend backend = new MemoryBackend();
        backend.version(new Version());
        MongoServer server = new MongoServer(backend);
        System.out.println(server.bind().getPort());
        System.out.flush();
        while (System.in.read() >= 0) { }
        server.shutdownNow();
        System.exit(0);
    }
}
