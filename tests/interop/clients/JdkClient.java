import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStreamReader;
import java.net.Authenticator;
import java.net.PasswordAuthentication;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.net.ssl.KeyManager;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** The JDK's client with its default settings. What is read and written here is told in README.md. */
public class JdkClient {
    private static final String MESSAGES =
        "http://schemas.microsoft.com/exchange/services/2006/messages";

    public static void main(String[] arguments) throws Exception {
        String folder = arguments[1];
        String password = arguments.length > 2 ? arguments[2] : null;
        HttpClient.Builder builder =
            HttpClient.newBuilder().sslContext(context(folder, password == null));
        if (password != null) {
            String[] parts = password.split(":");
            builder.authenticator(new Authenticator() {
                @Override
                protected PasswordAuthentication getPasswordAuthentication() {
                    return new PasswordAuthentication(parts[0], parts[1].toCharArray());
                }
            });
        }
        HttpClient client = builder.build();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] words = line.split("\t");
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0]))
                .header("Content-Type", "text/xml; charset=utf-8")
                .POST(HttpRequest.BodyPublishers.ofString(envelope(words)))
                .build();
            System.out.println(
                read(words[0], client.send(request, HttpResponse.BodyHandlers.ofString())));
        }
    }

    private static SSLContext context(String folder, boolean shows) throws Exception {
        KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null);
        try (FileInputStream file = new FileInputStream(folder + "/authority.pem")) {
            trusted.setCertificateEntry(
                "authority", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        TrustManagerFactory trust =
            TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(trusted);
        KeyManager[] shown = null;
        if (shows) {
            char[] password = "store".toCharArray();
            KeyStore own = KeyStore.getInstance("PKCS12");
            try (FileInputStream file = new FileInputStream(folder + "/client.p12")) {
                own.load(file, password);
            }
            KeyManagerFactory keys =
                KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
            keys.init(own, password);
            shown = keys.getKeyManagers();
        }
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(shown, trust.getTrustManagers(), null);
        return context;
    }

    private static String envelope(String[] words) {
        String inner = switch (words[0]) {
            case "place" -> element("PlayOnPhone",
                "<entryId>" + words[1] + "</entryId><DialString>" + words[2] + "</DialString>");
            case "state" -> element("GetCallInfo", "<CallId>" + words[1] + "</CallId>");
            case "end" -> element("Disconnect", "<CallId>" + words[1] + "</CallId>");
            default -> throw new IllegalArgumentException("no such command: " + words[0]);
        };
        return "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>" + inner
            + "</s:Body></s:Envelope>";
    }

    private static String element(String operation, String fields) {
        return "<" + operation + " xmlns=\"" + MESSAGES + "\">" + fields + "</" + operation + ">";
    }

    private static String read(String command, HttpResponse<String> answer) {
        String body = answer.body();
        if (answer.version() != HttpClient.Version.HTTP_1_1) {
            throw new IllegalStateException("not HTTP/1.1: " + answer.version());
        }
        if (part(body, "faultcode") != null) {
            return String.format(
                "{\"fault\": {\"type\": \"%d\", \"code\": \"%s\", \"text\": \"%s\", \"detail\": \"%s\"}}",
                answer.statusCode(), part(body, "faultcode"), part(body, "faultstring"),
                part(body, "ExceptionType"));
        }
        if (answer.statusCode() != 200) {
            throw new IllegalStateException(answer.statusCode() + " " + body);
        }
        if (command.equals("place")) {
            return String.format("{\"call\": \"%s\"}", part(body, "PlayOnPhoneResponse"));
        }
        if (command.equals("state")) {
            return String.format("{\"state\": \"%s\", \"cause\": \"%s\"}",
                part(body, "CallState"), part(body, "EventCause"));
        }
        if (!body.contains("<DisconnectResponse")) {
            throw new IllegalStateException(body);
        }
        return "{\"ended\": true}";
    }

    private static String part(String body, String name) {
        Matcher found = Pattern.compile("<(?:\\w+:)?" + name + "[^<>]*>([^<]+)<").matcher(body);
        return found.find() ? found.group(1) : null;
    }
}
